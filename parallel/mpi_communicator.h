#pragma once

#include <memory>

#include "kernels/core/library_version.h"
#include "parallel/communicator.h"
#include "parallel/pulse.h"

namespace engram {

// MPI for as long as main() runs: initialised by the constructor (MPI_THREAD_FUNNELED: only the thread that made it may
// communicate), finalized by the destructor. One per process. The communicators must be gone before it is.
//
// An MPI rank cannot tell the others that it failed: they would wait for ever. So main() ends the job:
//
//   MpiSession session;
//   try { run(*session.world(pulse)); }
//   catch (const Error& error) { report(error); session.abort(1); }
class MpiSession {
 public:
  MpiSession();
  // Ends the whole job, too, where an exception is on its way out of main().
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  // True where mpirun or srun started this process as one rank of a job.
  static bool launched();

  // All ranks of the job; every rank calls it. Host memory, any number of bytes, at most 2^31 - 1 rows of
  // all_to_all_rows on each side. Calls are checked when they are issued, for which all ranks meet; data moves between
  // issue and wait(). Failures of MPI itself throw PeerLost. The pulse, which must outlive the world, shows when the
  // rank waits for others.
  std::unique_ptr<Communicator> world(Pulse& pulse) const;

  // Ends all ranks of the job at once, with this exit code.
  [[noreturn]] void abort(int code) const;

 private:
  int num_exceptions_;
};

// Of Open MPI, or of the standard that another MPI follows.
LibraryVersion mpi_version();

}  // namespace engram
