#pragma once

#include <memory>

#include "parallel/communicator.h"

namespace engram {

struct NcclOptions {
  int card = 0;                  // the CUDA device of this rank, the current one of the calling thread
  double timeout_seconds = 600;  // how long one collective may take, once those before it are done
  int exit_code = 1;             // of the process where it hangs after a failure
};

// The ranks of `host`, each with one CUDA device: what is called with a CPU stream goes to `host`, which must outlive
// the result; what is called with a CUDA stream moves by NCCL, from device to device. Every rank calls it. Throws Error
// where this program was built without NCCL, two ranks would share a device, or NCCL fails.
//
// On CUDA streams the host neither waits nor meets its peers. A transfer runs on a communication stream, one for all
// groups that come from here by split(), after what was queued on the caller's stream; wait() makes the caller's stream
// wait for it. Therefore
// - arguments are checked on this rank alone: where ranks disagree, the collective hangs until the time limit or moves
//   wrong data. What can disagree (RowExchange's counts) has been checked on the host before;
// - the stream must outlive the wait;
// - after a failure of NCCL or a collective past its time limit, the next call or wait() throws PeerFailed with the
//   rank and the collective, and every buffer in flight is undefined. Where this rank does not come to make one and
//   leave its groups within 10 seconds, the message is printed and the process ends, and with it the job of mpirun.
//
// Sums are NCCL's: every rank gets the same bits, and so does every run with the same ranks on the same machines. The
// sum of two ranks is the one that the host back ends give, bit for bit; for more ranks the order of additions depends
// on the algorithm that NCCL chooses for the size and the links. NVLink multicast is off, unless NCCL_NVLS_ENABLE says
// otherwise.
std::unique_ptr<Communicator> make_nccl_communicator(Communicator& host, NcclOptions options);

}  // namespace engram
