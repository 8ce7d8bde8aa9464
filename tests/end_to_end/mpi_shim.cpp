// A library for LD_PRELOAD in which MPI_Wait fails, as where a link breaks:
//
//   ENGRAM_SHIM_RANK   on which rank
#define OMPI_SKIP_MPICXX 1  // the program has C alone
#include <mpi.h>

#include <cstdlib>
#include <string_view>

extern "C" int MPI_Wait(MPI_Request* request, MPI_Status* status) {
  const char *wanted = std::getenv("ENGRAM_SHIM_RANK"), *rank = std::getenv("OMPI_COMM_WORLD_RANK");
  const bool fails = wanted != nullptr && rank != nullptr && std::string_view(wanted) == rank;
  return fails ? MPI_ERR_OTHER : PMPI_Wait(request, status);
}
