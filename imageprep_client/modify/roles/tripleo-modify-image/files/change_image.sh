# Change an image in one layer, by a command that is run as root:
#
#   SOURCE RESULT TAG OPTION... -- COMMAND...
#
# The options are those of buildah run. Everything that the command may use is
# mounted below /mnt, because a mount point that the image does not have would
# remain in the image. Without a RESULT the command is run for its output. No
# container is left, however this ends. The output is bounded, because ansible
# keeps all of it in memory.
set -eu

source=$1 result=$2 tag=$3
shift 3

container=
trap 'test -z "$container" || buildah rm -- "$container" >/dev/null' EXIT
trap 'exit 143' HUP INT TERM

# SELinux labels are off, because the directories of the user that are mounted
# are not relabelled.
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
bounded buildah run --user=0:0 --workingdir=/ \
    --env=PYTHONDONTWRITEBYTECODE=1 --mount=type=tmpfs,destination=/mnt "$@"

if [ -n "$result" ]; then
    # The media types are kept, and with them the properties that only the
    # docker format has, such as the health check.
    case $(buildah inspect --type=image --format='{{.Manifest}}' -- \
        "$source") in
    *vnd.docker.distribution.manifest*) format=docker ;;
    *) format=oci ;;
    esac
    buildah config --label="modified_append_tag=$tag" \
        --label="modified_source_image=$source" "$container"
    buildah commit --quiet --format=$format -- "$container" "$result"
fi
