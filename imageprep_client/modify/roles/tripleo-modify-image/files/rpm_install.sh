# Install /mnt/rpms/*.rpm in exactly these versions, and nothing else. This runs
# in the working container; caches and logs go to /mnt.
set -eu
umask 022

set -- /mnt/rpms/*.rpm
if [ ! -e "$1" ]; then
    echo "no file *.rpm in rpms_path" >&2
    exit 1
fi
if command -v dnf >/dev/null; then
    exec dnf -y --disablerepo='*' --setopt=cachedir=/mnt/cache \
        --setopt=logdir=/mnt install "$@"
fi
if command -v yum >/dev/null; then
    exec yum -y --disablerepo='*' --setopt=cachedir=/mnt/cache \
        --setopt=logfile=/mnt/yum.log install "$@"
fi
if ! command -v rpm >/dev/null; then
    echo "the image has no dnf, yum or rpm" >&2
    exit 1
fi
exec rpm --upgrade --oldpackage --replacepkgs "$@"
