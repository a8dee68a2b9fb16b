#!/usr/bin/env bash
# Installs, upgrades and removes Lookout as a service of systemd. Run it again at any time: it changes what differs.
#
#   sudo ./install.sh --config agent.yaml --root root.json    # a blank device, running in one command
#   sudo ./install.sh                          # upgrade to the newest on PyPI, or to the checkout it lies in
#   sudo ./install.sh --wheels /media/usb      # without a network: every wheel from this folder
#   sudo ./install.sh --dry-run                # say what would be done, and do nothing
#   sudo ./install.sh --rollback               # back to the version before
#   sudo ./install.sh --uninstall [--purge]    # --purge: its configuration and state too
#
# Each version has a virtual environment of its own, /opt/lookout/versions/N; /opt/lookout/current points to the one
# that runs. An upgrade that does not come up within --patience seconds, or sees nothing where the version before did,
# is taken back by itself; so is one that the power or this script's end cut short. Configuration and state stay.
#
# Exit codes: 0 done, 1 failed (what ran before runs again), 2 bad usage.
set -euo pipefail
umask 022

PREFIX=/opt/lookout
ETC=/etc/lookout
STATE=/var/lib/lookout
UNIT=lookout.service
UNITS=/etc/systemd/system
COMMAND=/usr/local/bin/lookout
TRIAL=$PREFIX/on-trial # "<boot id> <the version before>", while a version has to prove itself; the unit reads it too
STEADY_S=5             # how long a version that came up must stay up
RESTARTS=3             # so many within the trial are enough to know
NOT_INSTALLED="pip could not install it (above: why); what ran before is unchanged"
HERE=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)

PACKAGE="" WHEELS="" CONFIG="" ROOT="" PYTHON=/usr/bin/python3 RUNTIME=auto SYSTEM_PACKAGES=auto PATIENCE=60 START=yes
BOARD="" DRY=no ACTION=install PURGE=no CREDENTIALS=() BUILT="" FAILED="" CHANGED=no

usage() {
  sed -n '2,/^set -euo/p' "${BASH_SOURCE[0]}" | sed '$d; s/^# \{0,1\}//'
  cat <<'END'

options:
  --config FILE        put FILE to /etc/lookout/agent.yaml, if there is none yet
  --root FILE          trust this registry: its root.json, got in a way that you trust
  --credential NAME=FILE   a secret, as /run/credentials/lookout.service/NAME; may be given several times
  --package WHAT       what to install: a wheel, a folder, or a requirement such as lookout-agent==0.2.0
  --wheels DIR         take every wheel from DIR, ask no package index (default: the folder wheels beside this script)
  --python PROGRAM     Python 3.10 or newer (/usr/bin/python3)
  --system-packages    let the environment see the system's packages: picamera2, GStreamer's bindings
  --no-system-packages do not, even on a Raspberry Pi or a Jetson
  --onnxruntime WHICH  pypi: the CPU build; keep: the one of the version before, or the system's; else a wheel or a
                       requirement. By default another build than PyPI's is kept where there is one, on a Jetson also
                       the system's or one that lies in --wheels
  --board NAME         raspberry-pi, jetson or other, where it is not recognised
  --patience SECONDS   how long a new version may take to come up (60)
  --no-start           install only: neither enable nor restart the service

examples:
  sudo ./install.sh --config agent.yaml --root root.json --credential mqtt-password=./password
  sudo ./install.sh --package lookout-agent==0.2.0
  sudo ./install.sh --onnxruntime ./onnxruntime_gpu-1.23.0-cp310-cp310-linux_aarch64.whl
END
}

say() { printf 'lookout: %s\n' "$*" || true; } # the terminal may be gone
die() { printf 'lookout: %s\n' "$*" >&2 || true; exit 1; }
bad_usage() { printf 'lookout: %s; see --help\n' "$*" >&2; exit 2; }

# Everything that changes the machine goes through here, so that --dry-run is the whole truth.
run() {
  if [ "$DRY" = no ]; then "$@"; else printf 'would run:'; printf ' %q' "$@"; printf '\n'; fi
}

put() { # put FILE TARGET MODE: copy where it differs
  if [ -f "$2" ] && cmp -s "$1" "$2"; then return 0; fi
  CHANGED=yes
  run install -D -m "$3" "$1" "$2"
}

drop() { # drop FILE…: remove what is there
  local file
  for file; do if [ -e "$file" ] || [ -L "$file" ]; then CHANGED=yes; run rm -f -- "$file"; fi; done
}

parse() {
  while [ $# -gt 0 ]; do
    case $1 in
      --package|--wheels|--config|--root|--credential|--python|--onnxruntime|--patience|--board)
        if [ $# -lt 2 ] || [ -z "$2" ]; then bad_usage "$1 needs a value"; fi
        case $1 in
          --package) PACKAGE=$2 ;; --wheels) WHEELS=$2 ;; --config) CONFIG=$2 ;; --root) ROOT=$2 ;;
          --credential) CREDENTIALS+=("$2") ;; --python) PYTHON=$2 ;; --onnxruntime) RUNTIME=$2 ;;
          --patience) PATIENCE=$2 ;; --board) BOARD=$2 ;;
        esac
        shift ;;
      --system-packages) SYSTEM_PACKAGES=yes ;;
      --no-system-packages) SYSTEM_PACKAGES=no ;;
      --no-start) START=no ;;
      --dry-run) DRY=yes ;;
      --rollback) ACTION=rollback ;;
      --uninstall) ACTION=uninstall ;;
      --purge) PURGE=yes ;;
      -h|--help) usage; exit 0 ;;
      *) bad_usage "unknown option $1" ;;
    esac
    shift
  done
}

check_usage() {
  local one
  case $PATIENCE in *[!0-9]*) bad_usage "--patience $PATIENCE is no number of seconds" ;; esac
  if [ -z "$WHEELS$PACKAGE" ] && [ -d "$HERE/wheels" ]; then WHEELS=$HERE/wheels; fi
  if [ -n "$WHEELS" ]; then
    [ -d "$WHEELS" ] || bad_usage "--wheels $WHEELS is no folder"
    WHEELS=$(cd "$WHEELS" && pwd)
    [ -n "$PACKAGE" ] || compgen -G "$WHEELS/lookout_agent-*.whl" >/dev/null \
      || bad_usage "--wheels $WHEELS holds no lookout_agent-*.whl"
  fi
  for one in "$CONFIG" "$ROOT"; do [ -z "$one" ] || [ -f "$one" ] || bad_usage "$one is no file"; done
  for one in ${CREDENTIALS[@]+"${CREDENTIALS[@]}"}; do
    [[ $one =~ ^[a-zA-Z0-9_-]+=. ]] || bad_usage "--credential $one: give it as NAME=FILE, NAME of letters, digits, - and _"
    [ -f "${one#*=}" ] || bad_usage "--credential $one: ${one#*=} is no file"
  done
  [ -n "$BOARD" ] || BOARD=$(board)
  case $BOARD in raspberry-pi|jetson|other) ;; *) bad_usage "--board $BOARD: raspberry-pi, jetson or other" ;; esac
  [ "$PURGE" = no ] || [ "$ACTION" = uninstall ] || bad_usage "--purge goes with --uninstall"
  if [ "$DRY" = no ]; then
    [ "$(id -u)" = 0 ] || die "run it as root: sudo $0"
    for one in systemctl systemd-sysusers systemd-tmpfiles; do
      command -v "$one" >/dev/null || die "$one is not there: this installs a service of systemd"
    done
    exec 9>/run/lock/lookout-install
    flock -w 15 9 || die "another install.sh is at work" # one that was killed leaves children for a moment
  fi
}

# --- what kind of machine this is -------------------------------------------------------------------------------------

board() {
  local model=""
  [ ! -r /proc/device-tree/model ] || model=$(tr -d '\0' < /proc/device-tree/model)
  case $model in
    *"Raspberry Pi"*) echo raspberry-pi ;;
    *Jetson*|*Orin*) echo jetson ;;
    *) if [ -e /etc/nv_tegra_release ]; then echo jetson; else echo other; fi ;;
  esac
}

has_systemd() { [ -d /run/systemd/system ]; } # not in a chroot in which an image is made

check_python() {
  command -v "$PYTHON" >/dev/null || die "$PYTHON is not there: apt-get install python3 python3-venv"
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
    || die "$PYTHON is $("$PYTHON" --version 2>&1); Python 3.10 or newer is needed: --python PROGRAM"
  "$PYTHON" -B -c 'import venv, ensurepip' 2>/dev/null || die "$PYTHON makes no environments: apt-get install python3-venv"
  "$PYTHON" -c 'import sys; sys.exit(sys.base_prefix.startswith(("/home/", "/root/", "/run/user/")))' \
    || die "$PYTHON lies in a home folder, which the service does not see: take the system's, /usr/bin/python3"
}

system_packages() {
  case $SYSTEM_PACKAGES in
    yes|no) [ "$SYSTEM_PACKAGES" = yes ] ;;
    *) [ "$BOARD" != other ] ;;
  esac
}

# --- building one version ---------------------------------------------------------------------------------------------

look_into() { # look_into PYTHON WHAT…: ask an environment
  local python=$1; shift
  "$python" -B "$HERE/environment.py" "$@"
}

what_to_install() {
  if [ -n "$PACKAGE" ]; then echo "$PACKAGE"
  elif [ -z "$WHEELS" ] && [ -f "$HERE/../pyproject.toml" ]; then dirname "$HERE"
  else echo lookout-agent; fi
}

# Which ONNX Runtime: pypi, before (the former version's), system, or something that pip can install.
which_runtime() {
  local before found=()
  before=$(look_into "$PREFIX/current/bin/python" runtime 2>/dev/null || true)
  case $RUNTIME in
    auto)
      if [ "$BOARD" = jetson ] && [ -n "$WHEELS" ]; then
        while read -r file; do found+=("$file"); done < <(compgen -G "$WHEELS/onnxruntime_*.whl" || true)
      fi
      if [ ${#found[@]} -gt 0 ]; then echo "${found[-1]}"
      elif [ -n "$before" ] && [ "${before%% *}" != onnxruntime ]; then echo before
      elif [ "$BOARD" = jetson ] && system_packages && look_into "$PYTHON" runtime >/dev/null; then echo system
      else echo pypi; fi ;;
    keep)
      if [ -n "$before" ] && in_environment "$PREFIX/current"; then echo before
      elif system_packages && look_into "$PYTHON" runtime >/dev/null; then echo system
      else die "--onnxruntime keep: neither the version before nor the system (--system-packages) has one"; fi ;;
    *) echo "$RUNTIME" ;;
  esac
}

in_environment() { # in_environment ENVIRONMENT: whether its ONNX Runtime lies in it, and not among the system's packages
  compgen -G "$1/lib/python3*/site-packages/onnxruntime/__init__.py" >/dev/null
}

pip_in() { # pip_in ENVIRONMENT ARGUMENTS…: at the lowest priority, since the version before is at work
  local env=$1 index=(); shift
  [ -z "$WHEELS" ] || index=(--no-index --find-links "$WHEELS")
  run nice -n 19 "$env/bin/python" -m pip --disable-pip-version-check --no-input "$@" ${index[@]+"${index[@]}"}
}

build() { # build ENVIRONMENT
  local env=$1 package runtime flags=()
  package=$(what_to_install)
  runtime=$(which_runtime)
  say "$package into $env, $("$PYTHON" --version 2>&1), ONNX Runtime: $runtime"
  if system_packages; then flags=(--system-site-packages); fi
  BUILT=$env
  run "$PYTHON" -m venv ${flags[@]+"${flags[@]}"} "$env"
  case $runtime in
    pypi)
      pip_in "$env" install --quiet "$package" || die "$NOT_INSTALLED"
      if [ "$BOARD" = jetson ]; then
        say "this ONNX Runtime knows only the CPU; for the GPU: --onnxruntime WHEEL, see docs/jetson.md"
      fi ;;
    *) build_around "$env" "$package" "$runtime" ;;
  esac
  # The system's simplejpeg, which picamera2 needs, was built for an older NumPy.
  if system_packages && "$PYTHON" -c 'import importlib.util, sys; sys.exit(not importlib.util.find_spec("picamera2"))'; then
    pip_in "$env" install --quiet --ignore-installed --no-deps simplejpeg \
      || say "picamera2 is there but no simplejpeg for this NumPy: its cameras will fail to open"
  fi
}

build_around() { # build_around ENVIRONMENT PACKAGE RUNTIME: everything but ONNX Runtime, whose build is the user's
  local env=$1 package=$2 runtime=$3 wanted=() site
  pip_in "$env" install --quiet --no-deps "$package" || die "$NOT_INSTALLED"
  case $runtime in
    system) ;;
    before)
      if in_environment "$PREFIX/current"; then
        site=$(compgen -G "$env/lib/python3*/site-packages" || echo "$env/lib/python3/site-packages")
        run "$PREFIX/current/bin/python" -B "$HERE/environment.py" carry "$site"
      fi ;;
    *) wanted+=("$runtime") ;;
  esac
  if [ "$DRY" = yes ]; then
    say "would install what Lookout needs besides ONNX Runtime${wanted[0]+, and ${wanted[0]}}"
    return 0
  fi
  while read -r line; do wanted+=("$line"); done < <(look_into "$env/bin/python" needs)
  pip_in "$env" install --quiet "${wanted[@]}" || die "$NOT_INSTALLED"
}

prove() { # prove ENVIRONMENT FORMER: what can be known before it runs
  local env=$1 former=$2 found
  found=$(look_into "$env/bin/python" runtime) || die "there is no ONNX Runtime in the new version: --onnxruntime WHEEL"
  [ "$(wc -l <<<"$found")" = 1 ] || die "there are several builds of ONNX Runtime: $(paste -sd, <<<"$found"); keep one"
  ORT_DISABLE_TELEMETRY=1 "$env/bin/python" -B -c 'import onnxruntime, numpy, cv2' \
    || die "$found does not load in the new version (above: why); nothing was changed"
  "$env/bin/lookout" version >/dev/null || die "the new version does not even start; nothing was changed"
  if [ -f $ETC/agent.yaml ] && [ -n "$former" ] && "$former/bin/lookout" check -c $ETC/agent.yaml >/dev/null 2>&1; then
    "$env/bin/lookout" check -c $ETC/agent.yaml >/dev/null \
      || die "the new version refuses $ETC/agent.yaml, which the one before accepts; nothing was changed"
  fi
}

# --- what lies beside the versions ------------------------------------------------------------------------------------

parts_of() { # the files of a version; in a rehearsal there is none yet
  if [ -d "$1/share/lookout/systemd" ]; then echo "$1/share/lookout/systemd"; else echo "$HERE"; fi
}

accounts_and_folders() { # accounts_and_folders ENVIRONMENT
  local parts
  parts=$(parts_of "$1")
  put "$parts/sysusers.conf" /etc/sysusers.d/lookout.conf 0644
  put "$parts/tmpfiles.conf" /etc/tmpfiles.d/lookout.conf 0644
  run systemd-sysusers /etc/sysusers.d/lookout.conf
  run systemd-tmpfiles --create /etc/tmpfiles.d/lookout.conf
}

configuration() { # configuration ENVIRONMENT
  local examples
  examples=$(parts_of "$1")/../configs
  if [ -e $ETC/agent.yaml ]; then
    [ -z "$CONFIG" ] || cmp -s "$CONFIG" $ETC/agent.yaml || say "$ETC/agent.yaml is there already and stays as it is"
  elif [ -n "$CONFIG" ]; then
    CHANGED=yes
    run install -m 0640 -o root -g lookout "$CONFIG" $ETC/agent.yaml
  else
    local example=$examples/$BOARD.yaml
    [ -f "$example" ] || example=$examples/minimal.yaml
    run install -m 0640 -o root -g lookout "$example" $ETC/agent.yaml
    say "an example lies at $ETC/agent.yaml: name your cameras, registry and broker in it, then run this again"
    START=no
  fi
}

credentials() { # each secret is a file that only root reads; systemd hands it to the service
  local one lines="# Written by install.sh: the files of $ETC/credentials"$'\n[Service]\n'
  for one in ${CREDENTIALS[@]+"${CREDENTIALS[@]}"}; do
    put "${one#*=}" "$ETC/credentials/${one%%=*}" 0600
  done
  [ "$DRY" = no ] || return 0
  for one in "$ETC"/credentials/*; do
    [ ! -f "$one" ] || lines+="LoadCredential=${one##*/}:$one"$'\n'
  done
  if [[ $lines = *LoadCredential* ]]; then
    put <(printf '%s' "$lines") "$UNITS/$UNIT.d/credentials.conf" 0644
  else
    drop "$UNITS/$UNIT.d/credentials.conf"
  fi
}

trust() { # trust ENVIRONMENT: the registry whose root was given
  [ -n "$ROOT" ] || return 0
  run install -d -m 0750 -o lookout -g lookout $STATE
  local folder=/run/lookout-install code=0
  run install -D -m 0644 "$ROOT" $folder/root.json
  run runuser -u lookout -- "$1/bin/lookout" provision --root $folder/root.json --state $STATE || code=$?
  run rm -rf $folder
  [ $code = 0 ] || die "the registry's root was not taken (above: why); what ran before is unchanged"
}

unit_of() { # unit_of ENVIRONMENT: each version brings its own
  local parts board=$UNITS/$UNIT.d/board.conf
  parts=$(parts_of "$1")
  put "$parts/lookout.service" "$UNITS/$UNIT" 0644
  if [ -f "$parts/$BOARD.conf" ]; then put "$parts/$BOARD.conf" "$board" 0644; else drop "$board"; fi
  if has_systemd && [ $CHANGED = yes ]; then run systemctl daemon-reload; fi
}

# --- which version runs -----------------------------------------------------------------------------------------------

target() { readlink -f "$PREFIX/$1" 2>/dev/null || true; }

link() { # link NAME ENVIRONMENT: in one step, so that there is always one
  [ "$(target "$1")" = "$2" ] && [ -e "$2" ] && return 0
  run ln -sfn "$2" "$PREFIX/$1.new"
  run mv -T "$PREFIX/$1.new" "$PREFIX/$1"
}

point_to() { # point_to ENVIRONMENT
  link current "$1"
  [ -L "$PREFIX/bin" ] || run ln -s current/bin "$PREFIX/bin"
  [ -L "$PREFIX/install.sh" ] || run ln -s current/share/lookout/systemd/install.sh "$PREFIX/install.sh"
  [ -e "$COMMAND" ] || run ln -sf "$PREFIX/bin/lookout" "$COMMAND"
  unit_of "$1"
}

property() { systemctl show -p "$1" --value "$UNIT" 2>/dev/null || true; }
active() { [ "$(property ActiveState)" = active ]; }
report() { timeout 20 "$PREFIX/bin/lookout" status --socket /run/lookout/agent.sock --json 2>/dev/null; }

answers() { # 3: it runs and something is amiss that no restart mends, such as a camera
  local code=0
  report >/dev/null || code=$?
  [ $code = 0 ] || [ $code = 3 ]
}

sees() { (report || true) | look_into "$PYTHON" sees; }

comes_up() { # comes_up SEEING: within the patience it is ready, answers, sees if it must, and stays so
  local until=$((SECONDS + PATIENCE)) life
  while [ $SECONDS -lt $until ]; do
    sleep 0.5
    if [ "$(property NRestarts)" -ge $RESTARTS ]; then FAILED="it crashed $RESTARTS times"; return 1; fi
    FAILED="it was not ready within $PATIENCE s"
    active || continue
    FAILED="it did not answer within $PATIENCE s"
    life=$(property InvocationID)
    answers || continue
    FAILED="it answered no frame within $PATIENCE s, where the one before did"
    [ "$1" = no ] || sees || continue
    sleep $STEADY_S
    FAILED="it did not stay up"
    if active && answers && [ "$(property InvocationID)" = "$life" ]; then return 0; fi
  done
  return 1
}

as_the_agent() { runuser -u lookout -- "$PYTHON" -B "$(parts_of "$(target current)")/environment.py" "$@"; }

begin_trial() { # begin_trial FORMER: until the verdict, whatever ends this leads back to it
  [ -n "$1" ] || return 0
  printf '%s %s\n' "$(cat /proc/sys/kernel/random/boot_id)" "$1" > "$TRIAL"
  sync "$TRIAL" "$PREFIX"
}

end_trial() { drop "$TRIAL"; }

go_back() { # go_back FORMER: its databases too, where the new version has brought them to a newer schema
  systemctl stop $UNIT || true
  as_the_agent restore $STATE || say "the databases of the version before could not be put back"
  point_to "$1"
  end_trial
  systemctl start --no-block $UNIT || true
}

settle() { # a trial that was cut short was not passed
  [ "$DRY" = no ] && [ -f "$TRIAL" ] || return 0
  local former
  read -r _ former < "$TRIAL"
  [ -x "$former/bin/lookout" ] || { end_trial; return 0; }
  say "the last upgrade was cut short before it had proven itself: back to $former"
  go_back "$former"
}

wanted_running() { # wanted_running FORMER: one that somebody has stopped stays stopped
  [ "$START" = yes ] && has_systemd || return 1
  [ -n "$1" ] && systemctl is-enabled --quiet $UNIT && [ "$(property ActiveState)" = inactive ] && return 1
  return 0
}

switch_to() { # switch_to ENVIRONMENT FORMER
  local env=$1 former=$2 saw=no
  if ! wanted_running "$former"; then
    point_to "$env"
    [ -z "$former" ] || link previous "$former"
    say "not started; to do so: systemctl enable $UNIT && systemctl restart $UNIT"
    return 0
  fi
  if [ "$DRY" = yes ]; then
    point_to "$env"
    run systemctl enable --quiet $UNIT
    run systemctl restart $UNIT
    say "would wait until it is ready and answers, else go back"
    return 0
  fi
  if [ -n "$former" ] && active && sees; then saw=yes; fi
  trap '' HUP # a terminal that is closed now must not end the watch
  begin_trial "$former"
  point_to "$env"
  systemctl enable --quiet $UNIT
  systemctl stop $UNIT
  [ -z "$former" ] || as_the_agent keep $STATE || die "$STATE: its databases could not be copied (above: why)"
  systemctl reset-failed $UNIT 2>/dev/null || true
  systemctl start --no-block $UNIT
  if comes_up $saw; then
    end_trial
    [ -z "$former" ] || { as_the_agent forget $STATE; link previous "$former"; }
    say "it runs: $("$PREFIX/bin/lookout" version | head -n 1); $(property StatusText)"
    say "what else it needs, or lacks: sudo lookout doctor"
    return 0
  fi
  journalctl -u $UNIT -n 15 --no-pager -o cat >&2 2>/dev/null || true
  if [ -n "$former" ]; then
    go_back "$former"
    die "the new version is taken back: $FAILED. The one before runs again: $former"
  fi
  BUILT=""
  die "$FAILED. Look at: lookout check -c $ETC/agent.yaml; journalctl -u $UNIT"
}

tidy() { # keep what runs and the one before
  local version
  for version in "$PREFIX"/versions/*; do
    case $version in "$(target current)"|"$(target previous)"|"$PREFIX/versions/*") ;; *) run rm -rf -- "$version" ;; esac
  done
}

# --- the three things that it does ------------------------------------------------------------------------------------

next_version() { # a number: a device's clock may be anywhere
  local last=0 version
  for version in "$PREFIX"/versions/*; do
    version=${version##*/}
    case $version in *[!0-9]*) ;; *) if [ "$version" -gt "$last" ]; then last=$version; fi ;; esac
  done
  echo "$PREFIX/versions/$((last + 1))"
}

# shellcheck disable=SC2317,SC2329 # the trap calls it
cleanup() { # whatever ended this: no half version, no half upgrade
  local code=$?
  trap - EXIT
  set +e
  settle
  if [ -n "$BUILT" ] && [ "$(target current)" != "$BUILT" ]; then rm -rf -- "$BUILT"; fi
  exit "$code"
}

install_version() {
  local former env
  check_python
  former=$(target current)
  [ -x "$former/bin/lookout" ] || former=""
  env=$(next_version)
  run install -d -m 0755 $PREFIX $PREFIX/versions
  build "$env"
  [ "$DRY" = yes ] || prove "$env" "$former"
  accounts_and_folders "$env"
  configuration "$env"
  credentials
  trust "$env"
  if [ "$DRY" = no ] && [ -n "$former" ] && same "$env" "$former"; then
    say "this version is installed already"
    rm -rf -- "$env"
    point_to "$former"
    if [ $CHANGED = yes ] || ! active; then switch_to "$former" ""; fi
    return 0
  fi
  [ "$DRY" = yes ] || sync -f "$env"
  switch_to "$env" "$former"
  if [ "$START" = yes ]; then tidy; fi
}

same() { [ "$(look_into "$1/bin/python" fingerprint)" = "$(look_into "$2/bin/python" fingerprint)" ]; }

roll_back() {
  local before running
  running=$(target current)
  before=$(target previous)
  if [ ! -x "$before/bin/lookout" ] || [ "$before" = "$running" ]; then die "there is no version before"; fi
  switch_to "$before" "$running"
}

uninstall() {
  if has_systemd && [ -e "$UNITS/$UNIT" ]; then run systemctl disable --now --quiet $UNIT; fi
  drop "$UNITS/$UNIT" "$UNITS/$UNIT.d/board.conf" "$UNITS/$UNIT.d/credentials.conf" \
    /etc/sysusers.d/lookout.conf /etc/tmpfiles.d/lookout.conf
  if [ -d "$UNITS/$UNIT.d" ]; then run rmdir --ignore-fail-on-non-empty "$UNITS/$UNIT.d"; fi
  if [ "$(readlink "$COMMAND" || true)" = "$PREFIX/bin/lookout" ]; then drop "$COMMAND"; fi
  if [ -d $PREFIX ]; then run rm -rf -- $PREFIX; fi
  if has_systemd; then run systemctl daemon-reload; fi
  if [ "$PURGE" = yes ]; then
    run rm -rf -- $ETC $STATE
    if getent passwd lookout >/dev/null; then run userdel lookout; fi
    say "removed, with its configuration and state"
  else
    say "removed; $ETC and $STATE are kept (--purge removes them too)"
  fi
}

main() { # read whole before it runs: it may replace or remove its own file
  parse "$@"
  check_usage
  [ "$DRY" = yes ] || trap cleanup EXIT
  trap 'exit 1' INT TERM HUP
  settle
  case $ACTION in
    install) install_version ;;
    rollback) roll_back ;;
    uninstall) uninstall ;;
  esac
  exit 0
}

main "$@"
