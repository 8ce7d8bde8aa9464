# shellcheck shell=bash
# Sourced by the other scripts: number of build jobs, and settings that MPI needs on small machines and in containers.

# Ends the script with a message.
fail() {
  echo "${0##*/}: $*" >&2
  exit 1
}

# One job a core and at least 1.5 GB of memory for each, unless ENGRAM_JOBS says otherwise.
count_jobs() {
  local cores memory_kb by_memory
  cores=$(nproc)
  memory_kb=$(awk '/^MemAvailable:/ {print $2}' /proc/meminfo)
  by_memory=$((memory_kb / 1500000))
  if [ "$by_memory" -lt 1 ]; then by_memory=1; fi
  if [ "$cores" -lt "$by_memory" ]; then echo "$cores"; else echo "$by_memory"; fi
}
ENGRAM_JOBS=${ENGRAM_JOBS:-$(count_jobs)}
case $ENGRAM_JOBS in
  '' | *[!0-9]* | 0) fail "ENGRAM_JOBS is \"$ENGRAM_JOBS\"; wanted a number of build jobs, 1 or more" ;;
esac
export ENGRAM_JOBS

# A rank computes on one core; ranks are the parallelism.
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

# More ranks than cores are wanted here, so none of them may own a core.
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
# Containers forbid reading another process's memory.
export OMPI_MCA_btl_vader_single_copy_mechanism=none
if [ "$(id -u)" = 0 ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi

# The CUDA compiler's path; fails where there is none.
find_nvcc() {
  command -v nvcc || ls "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" 2> /dev/null
}

# announce TEXT: a heading with the time since the script started.
announce() {
  printf '\n== [%d:%02d] %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$*"
}
