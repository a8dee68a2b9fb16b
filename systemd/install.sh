#!/usr/bin/env bash
# Installs, upgrades and removes Lookout as a service of systemd. Run it again at any time: it changes what differs.
#
#   sudo ./install.sh                          # the version on PyPI, or the checkout that this script lies in
#   sudo ./install.sh --wheels /media/usb      # without a network: every wheel from this folder
#   sudo ./install.sh --dry-run                # say what would be done, and do nothing
#   sudo ./install.sh --rollback               # back to the version before
#   sudo ./install.sh --uninstall [--purge]    # --purge: its configuration and state too
#
# Each version gets a virtual environment of its own below /opt/lookout/versions; /opt/lookout/current points to the one
# that runs. An upgrade that does not come up within --patience seconds is taken back by itself.
set -euo pipefail

PREFIX=/opt/lookout
ETC=/etc/lookout
STATE=/var/lib/lookout
UNIT=lookout.service
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

PACKAGE="" WHEELS="" CONFIG="" PYTHON="" ONNXRUNTIME="" SYSTEM_PACKAGES=auto PATIENCE=60 START=yes
DRY=no ACTION=install PURGE=no

usage() {
  sed -n '2,/^set -euo/p' "${BASH_SOURCE[0]}" | sed '$d; s/^# \{0,1\}//'
  cat <<'END'
options:
  --package WHAT       what to install: a wheel, a folder, or a requirement such as lookout-agent==0.2.0
  --wheels DIR         take every wheel from DIR, ask no package index
  --config FILE        put FILE to /etc/lookout/agent.yaml, if there is none yet
  --python PROGRAM     Python 3.10 or newer; default: the system's python3
  --system-packages    let the environment see the system's packages (picamera2, GStreamer's bindings)
  --no-system-packages do not, even on a Raspberry Pi or a Jetson
  --onnxruntime WHEEL  another build of ONNX Runtime than the one from PyPI, such as a Jetson's; "keep": the one that
                       the version before has, or that the system has
  --patience SECONDS   how long a new version may take to come up (60)
  --no-start           install only
END
}

say() { printf 'lookout: %s\n' "$*"; }
die() { printf 'lookout: %s\n' "$*" >&2; exit 1; }
bad_usage() { printf 'lookout: %s; see --help\n' "$*" >&2; exit 2; }

# Everything that changes the machine goes through here, so that --dry-run is the whole truth.
run() {
  if [ "$DRY" = yes ]; then printf 'would run:'; printf ' %q' "$@"; printf '\n'; else "$@"; fi
}

put() { # put FILE TARGET MODE: copy where it differs
  if [ -f "$2" ] && cmp -s "$1" "$2"; then return 0; fi
  run install -D -m "$3" "$1" "$2"
}

has_systemd() { [ -d /run/systemd/system ]; }

while [ $# -gt 0 ]; do
  case $1 in
    --package|--wheels|--config|--python|--onnxruntime|--patience)
      [ $# -ge 2 ] || bad_usage "$1 needs a value"
      case $1 in
        --package) PACKAGE=$2 ;; --wheels) WHEELS=$2 ;; --config) CONFIG=$2 ;; --python) PYTHON=$2 ;;
        --onnxruntime) ONNXRUNTIME=$2 ;; --patience) PATIENCE=$2 ;;
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
case $PATIENCE in ''|*[!0-9]*) bad_usage "--patience $PATIENCE is no number of seconds" ;; esac
[ -z "$WHEELS" ] || [ -d "$WHEELS" ] || bad_usage "--wheels $WHEELS is no folder"
[ -z "$CONFIG" ] || [ -f "$CONFIG" ] || bad_usage "--config $CONFIG is no file"
[ "$DRY" = yes ] || [ "$(id -u)" = 0 ] || die "run it as root: sudo $0"

# --- what kind of machine this is -------------------------------------------------------------------------------------

board() {
  local model=""
  [ -r /proc/device-tree/model ] && model=$(tr -d '\0' < /proc/device-tree/model)
  case $model in
    *"Raspberry Pi"*) echo raspberry-pi ;;
    *Jetson*|*Orin*) echo jetson ;;
    *) if [ -e /etc/nv_tegra_release ]; then echo jetson; else echo other; fi ;;
  esac
}
BOARD=$(board)

find_python() {
  local found=${PYTHON:-python3}
  command -v "$found" >/dev/null || die "$found is not there: apt-get install python3 python3-venv"
  "$found" -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
    || die "$found is $("$found" --version 2>&1); Python 3.10 or newer is needed: --python PROGRAM"
  "$found" -c 'import venv, ensurepip' 2>/dev/null || die "$found cannot make environments: apt-get install python3-venv"
  echo "$found"
}

wants_system_packages() {
  case $SYSTEM_PACKAGES in
    yes|no) [ "$SYSTEM_PACKAGES" = yes ] ;;
    *) [ "$BOARD" != other ] ;;
  esac
}

# --- building one version ---------------------------------------------------------------------------------------------

what_to_install() {
  if [ -n "$PACKAGE" ]; then echo "$PACKAGE"
  elif [ -f "$HERE/../pyproject.toml" ]; then (cd "$HERE/.." && pwd)
  else echo lookout-agent; fi
}

pip_in() { # pip_in ENVIRONMENT ARGUMENTS…
  local env=$1; shift
  local index=()
  [ -z "$WHEELS" ] || index=(--no-index --find-links "$WHEELS")
  run "$env/bin/pip" --disable-pip-version-check --no-input "$@" ${index[@]+"${index[@]}"}
}

# What Lookout needs, but for ONNX Runtime, whose build is the user's.
other_requirements() {
  "$1/bin/python" - <<'PY'
import importlib.metadata as metadata
for wanted in metadata.requires("lookout-agent") or ():
    if "extra ==" not in wanted and not wanted.lower().startswith("onnxruntime"):
        print(wanted.split(";")[0].strip())
PY
}

has_runtime() { "$1" -c 'import onnxruntime' 2>/dev/null; }

build() { # build ENVIRONMENT
  local env=$1 python package
  python=$(find_python)
  package=$(what_to_install)
  say "making $env with $("$python" --version 2>&1)"
  local flags=()
  if wants_system_packages; then flags=(--system-site-packages); fi
  run "$python" -m venv ${flags[@]+"${flags[@]}"} "$env"
  if [ "$ONNXRUNTIME" = "" ]; then
    pip_in "$env" install "$package"
  else
    pip_in "$env" install --no-deps "$package"
    if [ "$DRY" = yes ]; then say "would install its requirements, but for ONNX Runtime"; return 0; fi
    local needs=()
    while read -r line; do needs+=("$line"); done < <(other_requirements "$env")
    pip_in "$env" install "${needs[@]}"
    if [ "$ONNXRUNTIME" != keep ]; then
      pip_in "$env" install "$ONNXRUNTIME"
    elif ! has_runtime "$env/bin/python"; then
      keep_runtime "$env"
    fi
    has_runtime "$env/bin/python" || die "the environment has no ONNX Runtime that loads: --onnxruntime WHEEL"
  fi
  # The system's simplejpeg, which picamera2 needs, was built for an older NumPy.
  if wants_system_packages && [ "$BOARD" = raspberry-pi ]; then pip_in "$env" install simplejpeg; fi
}

keep_runtime() { # the user's own build, out of the version before
  local before="$PREFIX/current"
  [ -x "$before/bin/python" ] || die "there is no version before whose ONNX Runtime could be kept: --onnxruntime WHEEL"
  local from to
  from=$("$before/bin/python" -c 'import onnxruntime, pathlib; print(pathlib.Path(onnxruntime.__file__).parents[1])')
  to=$("$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  run cp -a "$from"/onnxruntime "$from"/onnxruntime*.dist-info "$to/"
}

# --- which version runs -----------------------------------------------------------------------------------------------

point_to() { # point_to ENVIRONMENT: in one step, so that there is always one
  run ln -sfn "$1" "$PREFIX/current.new"
  run mv -T "$PREFIX/current.new" "$PREFIX/current"
  [ -L "$PREFIX/bin" ] || run ln -sfn current/bin "$PREFIX/bin"
}

running_version() { readlink -f "$PREFIX/current" 2>/dev/null || true; }

restarts() { systemctl show -p NRestarts --value "$UNIT" 2>/dev/null || echo 0; }

# Up: the service is active (the agent itself says when it is ready), the agent answers, and it stays so for a while.
comes_up() {
  local until=$((SECONDS + PATIENCE)) before
  before=$(restarts)
  while [ $SECONDS -lt $until ]; do
    if systemctl is-active --quiet "$UNIT" && answers; then
      sleep 5
      if systemctl is-active --quiet "$UNIT" && answers && [ "$(restarts)" = "$before" ]; then return 0; fi
      return 1
    fi
    if systemctl is-failed --quiet "$UNIT"; then return 1; fi
    sleep 1
  done
  return 1
}

answers() { # 3: it runs and something is amiss that a restart does not mend, such as a camera
  local code=0
  "$PREFIX/bin/lookout" status --socket /run/lookout/agent.sock >/dev/null 2>&1 || code=$?
  [ $code = 0 ] || [ $code = 3 ]
}

start() { # start FORMER-ENVIRONMENT
  if [ "$START" = no ] || ! has_systemd; then
    say "not started: systemctl enable --now $UNIT"
    return 0
  fi
  run systemctl daemon-reload
  run systemctl enable --quiet "$UNIT"
  run systemctl restart "$UNIT" || true
  if [ "$DRY" = yes ]; then return 0; fi
  if comes_up; then
    say "it runs: $("$PREFIX/bin/lookout" version | head -1)"
    return 0
  fi
  journalctl -u "$UNIT" -n 15 --no-pager -o cat >&2 2>/dev/null || true
  if [ -n "$1" ] && [ -d "$1" ]; then
    point_to "$1"
    systemctl restart "$UNIT" || true
    die "the new version did not come up within $PATIENCE s; the one before runs again: $1"
  fi
  die "it did not come up within $PATIENCE s: lookout check -c $ETC/agent.yaml, then journalctl -u $UNIT"
}

tidy() { # keep what runs and the one before
  local kept=0 version
  [ -d "$PREFIX/versions" ] || return 0
  while read -r version; do
    [ "$version" = "$(running_version)" ] && continue
    kept=$((kept + 1))
    if [ $kept -gt 1 ]; then run rm -rf -- "$version"; fi
  done < <(find "$PREFIX/versions" -mindepth 1 -maxdepth 1 -type d -printf '%T@ %p\n' | sort -rn | cut -d' ' -f2-)
}

# --- the three things that it does ------------------------------------------------------------------------------------

accounts_and_files() {
  put "$HERE/sysusers.conf" /etc/sysusers.d/lookout.conf 0644
  put "$HERE/tmpfiles.conf" /etc/tmpfiles.d/lookout.conf 0644
  if command -v systemd-sysusers >/dev/null; then
    run systemd-sysusers /etc/sysusers.d/lookout.conf
  elif ! getent passwd lookout >/dev/null; then
    run useradd --system --home-dir $STATE --shell /usr/sbin/nologin --groups video lookout
  fi
  run install -d -m 0750 -o root -g lookout $ETC
  if [ -n "$CONFIG" ] && [ ! -e $ETC/agent.yaml ]; then
    run install -m 0640 -o root -g lookout "$CONFIG" $ETC/agent.yaml
  elif [ ! -e $ETC/agent.yaml ]; then
    local example=$HERE/../configs/$BOARD.yaml
    [ -f "$example" ] || example=$HERE/../configs/minimal.yaml
    if [ -f "$example" ]; then
      run install -m 0640 -o root -g lookout "$example" $ETC/agent.yaml
      say "an example lies at $ETC/agent.yaml: name your cameras, registry and broker in it"
      START=no
    fi
  fi
  put "$HERE/lookout.service" /etc/systemd/system/$UNIT 0644
}

install_version() {
  local former env
  former=$(running_version)
  env=$PREFIX/versions/$(date -u +%Y%m%dT%H%M%SZ)
  run install -d -m 0755 $PREFIX $PREFIX/versions
  accounts_and_files
  trap 'code=$?; [ $code = 0 ] || [ -z "${env:-}" ] || [ "$(running_version)" = "$env" ] || rm -rf -- "$env"' EXIT
  [ "$DRY" = yes ] && trap - EXIT
  build "$env"
  if [ "$DRY" = no ]; then
    "$env/bin/lookout" version >/dev/null || die "the new version does not even start; nothing was changed"
    if [ -f $ETC/agent.yaml ] && [ -n "$former" ]; then
      "$env/bin/lookout" check -c $ETC/agent.yaml || die "the new version refuses the configuration; nothing was changed"
    fi
  fi
  point_to "$env"
  start "$former"
  tidy
}

roll_back() {
  local former running
  running=$(running_version)
  former=$(find $PREFIX/versions -mindepth 1 -maxdepth 1 -type d ! -path "$running" -printf '%T@ %p\n' 2>/dev/null \
    | sort -rn | head -1 | cut -d' ' -f2-)
  [ -n "$former" ] || die "there is no version before"
  point_to "$former"
  start "$running"
}

uninstall() {
  if has_systemd; then
    run systemctl disable --now --quiet $UNIT 2>/dev/null || true
  fi
  run rm -f /etc/systemd/system/$UNIT /etc/sysusers.d/lookout.conf /etc/tmpfiles.d/lookout.conf
  run rm -rf -- $PREFIX
  if has_systemd; then run systemctl daemon-reload; fi
  if [ "$PURGE" = yes ]; then
    run rm -rf -- $ETC $STATE
    if getent passwd lookout >/dev/null; then run userdel lookout; fi
    say "removed, with its configuration and state"
  else
    say "removed; $ETC and $STATE are kept (--purge removes them too)"
  fi
}

case $ACTION in
  install) install_version ;;
  rollback) roll_back ;;
  uninstall) uninstall ;;
esac
