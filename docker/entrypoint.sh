#!/usr/bin/env bash
# Serves the engines in the volume of the image. Starts an engine for several GPUs with mpirun, one process per GPU,
# unless mpirun has already started this container.
# Arguments are options of `assay serve`. If the first is not an option, it is a command to run instead:
#   docker run IMAGE --profile NAME
#   docker run IMAGE serve /models/judge
#   docker run IMAGE build-engine --model /models/judge --target h100 --output /engines/judge
# In a LeaderWorkerSet of Kubernetes (deploy/helm), the first pod starts ASSAY_GPUS_PER_NODE ranks in each pod over
# SSH, with the key pair in /etc/assay-ssh; the other pods run an SSH server. The engine must be built for as many
# GPUs in each pod (build-engine --gpus-per-node); `assay serve` checks that before it loads.
set -euo pipefail

keys=/etc/assay-ssh
ssh_options="-p 2222 -i $keys/ssh-privatekey -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"

# Starts ranks and waits for them. On SIGTERM, mpirun kills its ranks a second later; SIGUSR1 it only forwards, and
# the ranks finish requests in flight. mpirun runs in a session of its own so that it gets signals only from here.
run_ranks() { # OPTION ... COMMAND ...
    setsid mpirun --bind-to none "$@" &
    local job=$! signalled=yes ended status=127
    trap 'signalled=yes; kill -USR1 "$job"' TERM INT
    while [[ $signalled ]]; do
        signalled='' ended=0
        wait "$job" || ended=$?
        # 127 means that the status was read before; otherwise a signal may have interrupted the wait.
        [[ $ended == 127 ]] || status=$ended
    done
    exit "$status"
}

# The variables that ranks on other nodes need: processes started over SSH do not have the container's environment.
exported() {
    compgen -e | grep -E '^(ASSAY|NIM|NCCL|UCX|CUDA|NVIDIA|TLLM|TRTLLM|OTEL|RUST)_|^(PATH|LD_LIBRARY_PATH)$' | sed 's/^/-x /'
}

lead_nodes() {
    local gpus=${ASSAY_GPUS_PER_NODE:?must be set to the number of ranks per node} hosts node
    # A wrong number of ranks is refused here, in one sentence, rather than by every rank. This pod alone may have too
    # few GPUs for the engine, so if its number of ranks is not known here, the ranks check it.
    local ranks
    ranks=$(assay serve --print-ranks "$@" 2>/dev/null) || ranks=''
    if [[ $ranks =~ ^[0-9]+$ && $ranks -ne $((LWS_GROUP_SIZE * gpus)) ]]; then
        echo "the engine has $ranks ranks, and $LWS_GROUP_SIZE pods with $gpus GPUs each have room for" \
            "$((LWS_GROUP_SIZE * gpus)); set nodes and gpus so that their product is $ranks" >&2
        exit 2
    fi
    # The name by which mpirun recognises this node.
    hosts=$(hostname):$gpus
    for ((node = 1; node < LWS_GROUP_SIZE; node++)); do
        local host=${LWS_LEADER_ADDRESS%%.*}-$node.${LWS_LEADER_ADDRESS#*.}
        # shellcheck disable=SC2086 # The options are split into words on purpose.
        until ssh $ssh_options "$host" true; do sleep 2; done
        hosts+=,$host:$gpus
    done
    local variables
    read -ra variables <<<"$(exported | tr '\n' ' ')"
    # Open MPI has the same prefix on all nodes. By default it would cut host names at the first dot.
    local prefix
    prefix=$(dirname "$(dirname "$(command -v mpirun)")")
    run_ranks -n $((LWS_GROUP_SIZE * gpus)) --map-by slot --host "$hosts" --prefix "$prefix" \
        --mca orte_keep_fqdn_hostnames 1 --mca plm_rsh_args "$ssh_options" "${variables[@]}" assay serve "$@"
}

# Runs an SSH server until a signal arrives and no rank is left: the ranks exit when the one in the first pod does.
offer_ssh() {
    mkdir -p /tmp/ssh
    [[ -e /tmp/ssh/host ]] || ssh-keygen -q -t ed25519 -N '' -f /tmp/ssh/host
    /usr/sbin/sshd -D -e -p 2222 -h /tmp/ssh/host -o PidFile=none -o AuthorizedKeysFile=$keys/ssh-publickey \
        -o StrictModes=no -o UsePAM=no &
    local sshd=$! signalled=''
    trap 'signalled=yes' TERM INT
    while [[ -z $signalled ]] || grep -qsx assay /proc/[0-9]*/comm; do
        kill -0 "$sshd" || exit 1
        sleep 1 &
        wait $! || true
    done
}

# Serve the volume unless other engines are configured. A configuration file may do that, and the variable would
# override it.
if [[ -z ${ASSAY_CONFIG-} && " $*" != *' --config'* ]]; then
    export NIM_CACHE_PATH=${NIM_CACHE_PATH:-/engines}
fi
if [[ ${1-} == serve ]]; then
    shift
elif [[ $# -gt 0 && $1 != -* ]]; then
    exec "$@"
fi
if [[ ${LWS_GROUP_SIZE-1} -gt 1 && -z ${OMPI_COMM_WORLD_SIZE-} ]]; then
    if [[ ${LWS_WORKER_INDEX:-0} -gt 0 ]]; then
        offer_ssh
        exit 0
    fi
    lead_nodes "$@"
fi

ranks=$(assay serve --print-ranks "$@")
if [[ -z ${OMPI_COMM_WORLD_SIZE-} && $ranks =~ ^[0-9]+$ && $ranks -gt 1 ]]; then
    run_ranks -n "$ranks" assay serve "$@"
fi
exec assay serve "$@"
