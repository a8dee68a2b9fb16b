#!/usr/bin/env bash
# Makes a folder from which install.sh installs a device that has no network: every wheel, install.sh, the unit.
#
#   ./bundle.sh /media/usb/lookout                                  # for a Raspberry Pi OS of today: aarch64, Python 3.11
#   ./bundle.sh /media/usb/lookout --python 3.10                    # for JetPack 6
#   ./bundle.sh ./lookout --arch x86_64 --package lookout-agent==0.2.0
#
# Then on the device: sudo bash /media/usb/lookout/install.sh --config agent.yaml --root root.json
# Exit codes: 0 done, 1 failed, 2 bad usage.
set -euo pipefail

HERE=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
DIR="" ARCH=aarch64 VERSION=3.11 PACKAGE="" PYTHON=${PYTHON:-python3}

usage() {
  sed -n '2,/^set -euo/p' "${BASH_SOURCE[0]}" | sed '$d; s/^# \{0,1\}//'
  cat <<'END'

options:
  --arch ARCH      aarch64 (default) or x86_64
  --python X.Y     the device's Python (3.11)
  --package WHAT   a wheel or a requirement (default: this checkout where there is one, else the newest on PyPI)
  --add WHAT       one more package or wheel, such as the GPU build of ONNX Runtime; may be given several times
The environment variable PYTHON names a Python with pip on this workstation (python3).
END
}

bad_usage() { printf 'bundle: %s; see --help\n' "$*" >&2; exit 2; }

MORE=()
while [ $# -gt 0 ]; do
  case $1 in
    --arch|--python|--package|--add)
      if [ $# -lt 2 ] || [ -z "$2" ]; then bad_usage "$1 needs a value"; fi
      case $1 in --arch) ARCH=$2 ;; --python) VERSION=$2 ;; --package) PACKAGE=$2 ;; --add) MORE+=("$2") ;; esac
      shift ;;
    -h|--help) usage; exit 0 ;;
    -*) bad_usage "unknown option $1" ;;
    *) [ -z "$DIR" ] || bad_usage "one folder, not two: $DIR, $1"; DIR=$1 ;;
  esac
  shift
done
[ -n "$DIR" ] || bad_usage "name the folder to make"
case $ARCH in aarch64|x86_64) ;; *) bad_usage "--arch $ARCH: aarch64 or x86_64" ;; esac
[[ $VERSION =~ ^3\.[0-9]+$ ]] || bad_usage "--python $VERSION: such as 3.11"
"$PYTHON" -m pip --version >/dev/null 2>&1 || { echo "bundle: $PYTHON has no pip: PYTHON=… $0" >&2; exit 1; }

mkdir -p "$DIR/wheels"
rm -f "$DIR"/wheels/lookout_agent-*.whl
if [ -z "$PACKAGE" ] && [ -f "$HERE/../pyproject.toml" ]; then
  "$PYTHON" -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$DIR/wheels" "$HERE/.."
  PACKAGE=$(compgen -G "$DIR/wheels/lookout_agent-*.whl")
fi

platforms=()
for tag in 2_34 2_28 2_27 2_17; do platforms+=(--platform "manylinux_${tag}_$ARCH"); done
platforms+=(--platform "manylinux2014_$ARCH")
# simplejpeg: picamera2 needs it built for a NumPy of today.
"$PYTHON" -m pip download --quiet --disable-pip-version-check --dest "$DIR/wheels" --only-binary=:all: \
  --implementation cp --python-version "$VERSION" "${platforms[@]}" \
  "${PACKAGE:-lookout-agent}" simplejpeg ${MORE[@]+"${MORE[@]}"}

for file in install.sh environment.py lookout.service jetson.conf sysusers.conf tmpfiles.conf; do
  install -m "$(stat -c %a "$HERE/$file")" "$HERE/$file" "$DIR/$file"
done
printf 'bundle: %s, %s wheels for Python %s on %s; on the device: sudo bash %s/install.sh\n' \
  "$(du -sh "$DIR" | cut -f1)" "$(find "$DIR/wheels" -name '*.whl' | wc -l)" "$VERSION" "$ARCH" "$DIR"
