#!/usr/bin/env bash
# Serves the engines in the image's volume. An engine for several GPUs is started with mpirun, as one
# process for each; a container that mpirun has started already leaves that alone.
# Arguments are options of `assay serve`; one that begins otherwise is a command to run in its place:
#   docker run IMAGE --profile NAME
#   docker run IMAGE build-engine --model /models/judge --target h100 --output /engines/judge
# In a LeaderWorkerSet of Kubernetes (deploy/helm) the first pod starts ASSAY_GPUS_PER_NODE ranks in each over
# SSH, with the key pair in /etc/assay-ssh; the others offer SSH.
set -euo pipefail

keys=/etc/assay-ssh
ssh_options="-p 2222 -i $keys/ssh-privatekey -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"

# Starts ranks and waits for them. mpirun answers SIGTERM by killing its ranks a second later; SIGUSR1 it only
# passes on, and they finish what is in flight. In a session of its own, it hears of neither but from here.
run_ranks() { # OPTION ... COMMAND ...
    setsid mpirun --bind-to none "$@" &
    local job=$! told=yes ended status=127
    trap 'told=yes; kill -USR1 "$job"' TERM INT
    while [[ $told ]]; do
        told='' ended=0
        wait "$job" || ended=$?
        # 127: waited for already; else a signal may have interrupted it.
        [[ $ended == 127 ]] || status=$ended
    done
    exit "$status"
}

# What the ranks of other nodes are to know; what SSH starts has nothing of the container's environment.
exported() {
    compgen -e | grep -E '^(ASSAY|NIM|NCCL|UCX|CUDA|NVIDIA|TLLM|TRTLLM|OTEL|RUST)_|^(PATH|LD_LIBRARY_PATH)$' | sed 's/^/-x /'
}

lead_nodes() {
    local gpus=${ASSAY_GPUS_PER_NODE:?says how many ranks each node has} hosts node
    # By the name that mpirun knows to be this node's.
    hosts=$(hostname):$gpus
    for ((node = 1; node < LWS_GROUP_SIZE; node++)); do
        local host=${LWS_LEADER_ADDRESS%%.*}-$node.${LWS_LEADER_ADDRESS#*.}
        # shellcheck disable=SC2086 # Its words are its options.
        until ssh $ssh_options "$host" true; do sleep 2; done
        hosts+=,$host:$gpus
    done
    local variables
    read -ra variables <<<"$(exported | tr '\n' ' ')"
    # On the other nodes Open MPI is where it is here. It would cut the hosts' names off at the first dot.
    local prefix
    prefix=$(dirname "$(dirname "$(command -v mpirun)")")
    run_ranks -n $((LWS_GROUP_SIZE * gpus)) --map-by slot --host "$hosts" --prefix "$prefix" \
        --mca orte_keep_fqdn_hostnames 1 --mca plm_rsh_args "$ssh_options" "${variables[@]}" assay serve "$@"
}

# Offers SSH until told to end and without ranks: those end when the first pod's does.
offer_ssh() {
    mkdir -p /tmp/ssh
    [[ -e /tmp/ssh/host ]] || ssh-keygen -q -t ed25519 -N '' -f /tmp/ssh/host
    /usr/sbin/sshd -D -e -p 2222 -h /tmp/ssh/host -o PidFile=none -o AuthorizedKeysFile=$keys/ssh-publickey \
        -o StrictModes=no -o UsePAM=no &
    local sshd=$! told=''
    trap 'told=yes' TERM INT
    while [[ -z $told ]] || grep -qsx assay /proc/[0-9]*/comm; do
        kill -0 "$sshd" || exit 1
        sleep 1 &
        wait $! || true
    done
}

# The volume, unless engines are named; an options file may name them, and would lose against the variable.
if [[ -z ${ASSAY_CONFIG-} && " $*" != *' --config'* ]]; then
    export NIM_CACHE_PATH=${NIM_CACHE_PATH:-/engines}
fi
if [[ $# -gt 0 && $1 != -* ]]; then
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
