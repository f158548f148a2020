# Update packages, with the cache in /mnt/cache:
#
#   purge               only empty the cache
#   all REPO            all packages
#   some REPO NAME...   these packages
#
# If REPO is not empty, only packages with a newer version in this repository
# are updated. The repositories are those of /mnt/repos if it exists. RPM files
# in /mnt/rpms are installed at the end. Logs go to /mnt.
set -eu
umask 022

if command -v dnf >/dev/null; then
    tool=dnf logs=--setopt=logdir=/mnt
elif command -v yum >/dev/null; then
    tool=yum logs=--setopt=logfile=/mnt/yum.log
else
    echo "the image has no dnf or yum" >&2
    exit 1
fi

run() {
    if [ -d /mnt/repos ]; then
        set -- --setopt=reposdir=/mnt/repos "$@"
    fi
    $tool -y --setopt=cachedir=/mnt/cache $logs "$@"
}

what=$1
if [ "$what" = purge ]; then
    run clean all
    exit
fi
repo=$2
shift 2

# Metadata from an earlier image would hide newer packages.
run clean expire-cache

if [ -n "$repo" ] && { [ "$what" = all ] || [ $# -gt 0 ]; }; then
    status=0
    listed=$(run -q --disablerepo='*' --enablerepo="$repo" check-update "$@") \
        || status=$?
    if [ $status -ne 0 ] && [ $status -ne 100 ]; then
        echo "$listed" >&2
        exit $status
    fi
    # Name, version and repository of each package; long lines are wrapped.
    what=some
    set -f
    set --
    column=0
    for word in $listed; do
        case $column:$word in
        0:Obsoleting | 0:Security:) break ;;
        0:[A-Za-z0-9_]*.*) set -- "$@" "$word" ;;
        esac
        column=$(((column + 1) % 3))
    done
    set +f
fi

if [ "$what" = all ] || [ $# -gt 0 ]; then
    run update "$@"
else
    echo "no package to update"
fi

if [ -d /mnt/rpms ]; then
    set -- /mnt/rpms/*.rpm
    if [ ! -e "$1" ]; then
        echo "no file *.rpm in rpms_path" >&2
        exit 1
    fi
    run install "$@"
fi
