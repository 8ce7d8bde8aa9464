#include "kernels/row_keys_impl.h"

namespace engram {

void run(CpuQueue&, const RowKeys& a) {
  const int64_t count = a.rows.size(0);
  a.findings(0) = count;
  a.findings(1) = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = a.rows(i);
    const bool found = is_row(a, row);
    if (!found && row != -1 && a.findings(0) == count) a.findings(0) = i;
    if (!found) ++a.findings(1);
    a.keys(i) = found ? key_of(a.blocks, row) : -1;
  }
}

}  // namespace engram
