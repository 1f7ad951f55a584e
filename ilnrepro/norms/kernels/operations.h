// What the operations of the library share: TensorFlow's names, threads, and refusals.

#ifndef ILNREPRO_OPERATIONS_H_
#define ILNREPRO_OPERATIONS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "maps.h"
#include "parallel.h"
#include "team.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace iln {

using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// On as many threads as TensorFlow gives one operation.
inline Parallel Workers(OpKernelContext* context) {
  const int threads = context->device()->tensorflow_cpu_worker_threads()->num_threads;
  return [threads](int64_t items, int64_t cycles, const Team::Work& work) {
    Team::OfProcess().Run(threads, items, cycles, work);
  };
}

template <typename... Parts>
absl::Status Refused(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

template <typename T>
const T* Data(OpKernelContext* context, int input) {
  return context->input(input).flat<T>().data();
}

// The maps of x, input number `at`, whose mean, scale and offset are the inputs from `first` on.
template <typename T>
absl::Status GetMaps(OpKernelContext* context, int at, int first, AffineMaps<T>* maps) {
  const TensorShape& x = context->input(at).shape();
  const TensorShape expected({x.dim_size(0), x.dim_size(x.dims() - 1)});
  for (int i = first; i < first + 3; ++i) {
    const TensorShape& actual = context->input(i).shape();
    if (actual != expected) {
      return Refused(context->op_kernel().type_string(), ": for x of shape ", x.DebugString(),
                     ", its mean, scale and offset must be ", expected.DebugString(), "; one is ",
                     actual.DebugString());
    }
  }
  *maps = {Data<T>(context, first), Data<T>(context, first + 1), Data<T>(context, first + 2)};
  return absl::OkStatus();
}

}  // namespace iln

#endif  // ILNREPRO_OPERATIONS_H_
