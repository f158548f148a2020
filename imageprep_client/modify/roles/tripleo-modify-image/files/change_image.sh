# Change an image in one layer, by a command that is run as root:
#
#   SOURCE RESULT TAG OPTION... -- COMMAND...
#
# The options are those of buildah run. Everything that is lent to the command
# is below /mnt: where something is mounted on a directory that the image has
# not, the directory is left there. Without a RESULT the command is run for
# what it prints. No container is left, however this ends.
set -eu

source=$1 result=$2 tag=$3
shift 3

container=
trap 'test -z "$container" || buildah rm -- "$container" >/dev/null' EXIT
trap 'exit 143' HUP INT TERM

# Labels of SELinux are off: directories of the user are lent to the container
# that are not labelled anew for that.
if ! container=$(buildah from --pull-never --security-opt=label=disable -- \
    "$source"); then
    echo "buildah pull brings an image into local storage" >&2
    exit 1
fi

begun=
for word; do
    shift
    if [ -z "$begun" ] && [ "$word" = -- ]; then
        begun=1
        set -- "$@" -- "$container"
    else
        set -- "$@" "$word"
    fi
done
buildah run --user=0:0 --workingdir=/ --env=PYTHONDONTWRITEBYTECODE=1 \
    --mount=type=tmpfs,destination=/mnt "$@"

if [ -n "$result" ]; then
    # The media types stay, and so does what only the older ones can say, such
    # as how a container's health is checked.
    case $(buildah inspect --type=image --format='{{.Manifest}}' -- \
        "$source") in
    *vnd.docker.distribution.manifest*) format=docker ;;
    *) format=oci ;;
    esac
    buildah config --label="modified_append_tag=$tag" \
        --label="modified_source_image=$source" "$container"
    buildah commit --quiet --format=$format -- "$container" "$result"
fi
