#pragma once

namespace engram {

// True where a person watches standard output, so that a line can be redrawn. mpirun gives rank 0 a pseudo-terminal
// whatever its own output is; under a launcher what counts is the output of the nearest ancestor that has another one.
// Where that cannot be found out the answer is no.
bool stdout_is_terminal();

}  // namespace engram
