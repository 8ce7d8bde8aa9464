#include "kernels/convert_impl.h"

namespace engram {

template <class T>
void run(CpuQueue&, const Convert<T>& a) {
  for (int64_t i = 0; i < a.x.size(0); ++i) a.y.data[i] = static_cast<typename Convert<T>::Other>(a.x.data[i]);
}

template void run(CpuQueue&, const Convert<bfloat16>&);
template void run(CpuQueue&, const Convert<float>&);

}  // namespace engram
