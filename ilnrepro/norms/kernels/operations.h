// What the operations of the library share: TensorFlow's names, its worker threads, and refusals.

#ifndef ILNREPRO_OPERATIONS_H_
#define ILNREPRO_OPERATIONS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace {

using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// parallel(items, cycles of one, work(first, limit)) calls work for all items on TensorFlow's worker threads.
auto Parallel(OpKernelContext* context) {
  auto* workers = context->device()->tensorflow_cpu_worker_threads()->workers;
  return [workers](int64_t items, int64_t cycles, const auto& work) {
    workers->ParallelFor(items, tensorflow::thread::ThreadPool::SchedulingParams::Adaptive(cycles), work);
  };
}

template <typename... Parts>
absl::Status Refused(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

}  // namespace

#endif  // ILNREPRO_OPERATIONS_H_
