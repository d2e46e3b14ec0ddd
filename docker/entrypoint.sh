#!/usr/bin/env bash
# Serves the engines in the image's volume. An engine for several GPUs is started with mpirun, as one
# process for each; a container that mpirun has started already (on several nodes) leaves that alone.
# Arguments are options of `assay serve`; one that begins otherwise is a command to run in its place:
#   docker run IMAGE --profile NAME
#   docker run IMAGE build-engine --model /models/judge --target h100 --output /engines/judge
set -euo pipefail

# The volume, unless engines are named; an options file may name them, and would lose against the variable.
if [[ -z ${ASSAY_CONFIG-} && " $*" != *' --config'* ]]; then
    export NIM_CACHE_PATH=${NIM_CACHE_PATH:-/engines}
fi
if [[ $# -gt 0 && $1 != -* ]]; then
    exec "$@"
fi

ranks=$(assay serve --print-ranks "$@")
if [[ -z ${OMPI_COMM_WORLD_SIZE-} && $ranks =~ ^[0-9]+$ && $ranks -gt 1 ]]; then
    # On SIGTERM mpirun tells every rank and kills what is left a second later. Ranks finish what is in
    # flight, so it waits; whoever stops the container decides when that is over. Open MPI 4, then 5.
    export OMPI_MCA_odls_base_sigkill_timeout=3600 PRTE_MCA_odls_base_sigkill_timeout=3600
    exec mpirun -n "$ranks" --bind-to none assay serve "$@"
fi
exec assay serve "$@"
