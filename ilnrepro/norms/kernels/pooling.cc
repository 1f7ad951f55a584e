// The maximum over 2x2 pixels of feature maps [N, H, W, C] that are read as relu(scale * (x - mean) + offset), with
// coefficients [N, C], as TensorFlow CPU operations.

#include "pooling.h"

#include <cstdint>

#include "operations.h"

namespace iln {

// Sets the squares and the maps of x, input number `at`, which its coefficients follow.
template <typename T>
absl::Status GetSquares(OpKernelContext* context, int at, Squares* squares, AffineMaps<T>* maps) {
  const TensorShape& x = context->input(at).shape();
  if (x.dims() != 4 || x.dim_size(1) % 2 || x.dim_size(2) % 2) {
    return Refused(context->op_kernel().type_string(), ": x must be [N, H, W, C] with even sides; it is ",
                   x.DebugString());
  }
  *squares = {x.dim_size(0), x.dim_size(1) / 2, x.dim_size(2) / 2, x.dim_size(3)};
  return GetMaps(context, at, at + 1, maps);
}

inline TensorShape Pooled(const Squares& s) { return {s.instances, s.height, s.width, s.channels}; }

template <typename T>
class MaxPoolOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    Squares s;
    AffineMaps<T> maps;
    OP_REQUIRES_OK(context, GetSquares(context, 0, &s, &maps));
    Tensor* y;
    OP_REQUIRES_OK(context, context->allocate_output(0, Pooled(s), &y));
    MaxPool(s, Workers(context), Data<T>(context, 0), maps, y->flat<T>().data());
  }
};

template <typename T>
class MaxPoolGradientOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    Squares s;
    AffineMaps<T> maps;
    OP_REQUIRES_OK(context, GetSquares(context, 1, &s, &maps));
    const TensorShape &dy = context->input(0).shape(), &x = context->input(1).shape();
    OP_REQUIRES(context, dy == Pooled(s),
                Refused(type_string(), ": for x of shape ", x.DebugString(), ", dy does not fit: ", dy.DebugString()));
    Tensor *dx, *dscale, *doffset;
    OP_REQUIRES_OK(context, context->allocate_output(0, x, &dx));
    OP_REQUIRES_OK(context, context->allocate_output(1, context->input(2).shape(), &dscale));
    OP_REQUIRES_OK(context, context->allocate_output(2, context->input(2).shape(), &doffset));
    MaxPoolGradient(s, Workers(context), Data<T>(context, 0), Data<T>(context, 1), maps, dx->flat<T>().data(),
                    dscale->flat<T>().data(), doffset->flat<T>().data());
  }
};

absl::Status InferMaxPool(InferenceContext* c) {
  ShapeHandle x;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &x));
  DimensionHandle height, width;
  TF_RETURN_IF_ERROR(c->Divide(c->Dim(x, 1), 2, true, &height));
  TF_RETURN_IF_ERROR(c->Divide(c->Dim(x, 2), 2, true, &width));
  c->set_output(0, c->MakeShape({c->Dim(x, 0), height, width, c->Dim(x, 3)}));
  return absl::OkStatus();
}

absl::Status InferMaxPoolGradient(InferenceContext* c) {
  c->set_output(0, c->input(1));
  c->set_output(1, c->input(3));
  c->set_output(2, c->input(4));
  return absl::OkStatus();
}

}  // namespace iln

REGISTER_OP("IlnMaxPool")
    .Attr("T: {float, double}").Input("x: T").Input("mean: T").Input("scale: T").Input("offset: T").Output("y: T")
    .SetShapeFn(iln::InferMaxPool);
REGISTER_OP("IlnMaxPoolGradient")
    .Attr("T: {float, double}").Input("dy: T").Input("x: T").Input("mean: T").Input("scale: T").Input("offset: T")
    .Output("dx: T").Output("dscale: T").Output("doffset: T").SetShapeFn(iln::InferMaxPoolGradient);

#define REGISTER_POOLING(Kind, T) \
  REGISTER_KERNEL_BUILDER(Name("Iln" #Kind).Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T"), iln::Kind##Op<T>)
REGISTER_POOLING(MaxPool, float);
REGISTER_POOLING(MaxPool, double);
REGISTER_POOLING(MaxPoolGradient, float);
REGISTER_POOLING(MaxPoolGradient, double);
