#!/usr/bin/env bash
# Makes a folder that runs on another machine: the program and the libraries it needs, found beside it wherever the
# folder is put. The machine gives its own MPI, C library and GPU driver.
#
#   scripts/bundle.sh [--output DIR] [--build DIR] [--as-it-is] [--without-cuda-libraries] [--with-tests] [--cpu]
#     --output DIR               the folder, build/bundle/package unless told; replaced if it is there
#     --build DIR                where to build, build/bundle unless told
#     --as-it-is                 what lies in the build folder, without configuring or building it
#     --without-cuda-libraries   leave out CUDA's own too (cuBLAS, cuDNN, NCCL); then it has less than 60 MiB
#     --with-tests               also the test programs, for scripts/gpu_check.sh --bundle
#     --cpu                      without CUDA
#
# The program runs on any processor with AVX2 (x86-64-v3). ENGRAM_JOBS=N sets the number of build jobs.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh

LIMIT_MIB=60
# What every machine has of its own: the C library and the dynamic linker, MPI and its parts, the driver.
FROM_THE_SITE='^(ld-linux|linux-vdso|lib(c|m|dl|rt|pthread|resolv|util|nsl|anl)\.so'
FROM_THE_SITE+='|libmpi|libopen-(pal|rte)|libpmi|libcuda\.so|libnvidia-)'
CUDA_LIBRARIES='^lib(cudart|cublas|cublasLt|cudnn[a-z_]*|nccl|nvrtc[a-z-]*|nvJitLink)\.so'

output=
build=build/bundle
tests=OFF
cuda=AUTO
as_it_is=
leave_out=$FROM_THE_SITE
while [ $# -gt 0 ]; do
  case $1 in
    --output) output=$2; shift ;;
    --build) build=$2; shift ;;
    --without-cuda-libraries) leave_out="$FROM_THE_SITE|$CUDA_LIBRARIES" ;;
    --with-tests) tests=ON ;;
    --cpu) cuda=OFF ;;
    --as-it-is) as_it_is=1 ;;
    --help | -h) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    *) fail "unknown option $1; see --help" ;;
  esac
  shift
done
output=${output:-$build/package}

# Names of the libraries that a file asks for itself.
needs() {
  readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'
}

# add_libraries FILE: copies what FILE needs, and what that needs, unless it comes from the site.
add_libraries() {
  local name path
  for name in $(needs "$1"); do
    if [[ $name =~ $leave_out ]] || [ -e "$output/lib/$name" ]; then continue; fi
    path=$(ldd "$1" | awk -v name="$name" '$1 == name && !found++ {print $3}')
    [ -e "$path" ] || fail "$1 needs $name, which is not on this machine"
    cp -L "$path" "$output/lib/$name"
    chmod u+w "$output/lib/$name"
    add_libraries "$path"
  done
}

# cuDNN loads its parts by name when it is used.
add_parts_of_cudnn() {
  local part
  [ -e "$output/lib/libcudnn.so.9" ] || return 0
  for part in "$(dirname "$(ldd "$build/engram" | awk '$1 == "libcudnn.so.9" {print $3}')")"/libcudnn_*.so.9; do
    cp -L "$part" "$output/lib/"
  done
}

targets=(engram)
if [ "$tests" = ON ]; then targets+=({kernels,parallel,parallel_mpi,model,trainer}_tests); fi
if [ -z "$as_it_is" ]; then
  announce "build in $build ($ENGRAM_JOBS jobs)"
  mkdir -p "$build"
  nvcc=${CUDACXX:-$(command -v nvcc || echo "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc")}
  cuda_flags=
  if "$nvcc" --help 2> /dev/null | grep -e --compress-mode > /dev/null; then
    cuda_flags=--compress-mode=size  # a fifth of the bytes; older compilers have less to offer
  fi
  cmake -S . -B "$build" -G Ninja -DENGRAM_CUDA="$cuda" -DENGRAM_TESTS="$tests" -DENGRAM_CPU_ARCH=x86-64-v3 \
    -DENGRAM_STATIC_BLAS=ON -DCMAKE_CUDA_FLAGS="$cuda_flags" > "$build/cmake.log" ||
    { cat "$build/cmake.log"; fail "cmake failed; what it said is above"; }
  cmake --build "$build" -j "$ENGRAM_JOBS" --target "${targets[@]}"
fi

announce "bundle in $output"
rm -rf "$output"
mkdir -p "$output/bin" "$output/lib" "$output/scripts"
for target in "${targets[@]}"; do
  if [ "$target" = engram ]; then program=$build/engram; else program=$build/tests/$target; fi
  strip -o "$output/bin/$target" "$program"
  add_libraries "$program"
done
add_parts_of_cudnn
cp -r configs LICENSE NOTICE "$output/"
cp -r scripts/peer scripts/gpu_check.sh scripts/environment.sh "$output/scripts/"
if [ "$tests" = ON ]; then
  cp -r --parents tests/end_to_end/{program,devices_test}.py data/sample data/tokenizers/english_8k "$output/"
fi
"$output/bin/engram" --version > "$output/VERSION"

size=$(du -sm "$output" | cut -f1)
echo "$output: $size MiB, $(find "$output/lib" -type f | wc -l) libraries; $(cat "$output/VERSION")"
if [ -z "$as_it_is" ] && [ "$leave_out" != "$FROM_THE_SITE" ] && [ "$tests" = OFF ] &&
  [ "$size" -ge "$LIMIT_MIB" ]; then
  fail "$output has $size MiB; at most $LIMIT_MIB without CUDA's libraries"
fi
