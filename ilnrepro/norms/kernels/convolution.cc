// Convolutions as TensorFlow CPU operations on feature maps [N, (D,) H, W, C] and filters [(D,) H, W, C, K]:
// "SAME", of a stride that divides the sides, or with dilated taps. `flipped` is the transpose, from maps of K
// channels to maps of C: the gradient by the input, or what is called a transposed convolution.

#include "convolution.h"

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"
#include "operations.h"

namespace {

class ConvolutionOp : public OpKernel {
 public:
  explicit ConvolutionOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("stride", &stride_));
    OP_REQUIRES_OK(context, context->GetAttr("dilation", &dilation_));
    OP_REQUIRES(context, stride_ == 1 || dilation_ == 1,
                Refused(type_string(), ": one of stride and dilation must be 1; they are ", stride_, " and ",
                        dilation_));
  }

 protected:
  // Of the convolution, or of its transpose, that maps `large` (times the stride) to `small` or back.
  Geometry MakeGeometry(const TensorShape& large, const std::vector<int64_t>& filters, bool flipped) const {
    const int rank = large.dims();
    const int64_t inputs = filters[rank - 2], outputs = filters[rank - 1];
    Geometry g{large.dim_size(0), {}, inputs, outputs, outputs, 1};
    for (int i = 0; i < 3; ++i) {
      const int axis = rank - 4 + i;
      g.axes[i] = axis < 1 ? Axis::Make(1, 1, 1, 1, flipped)
                           : Axis::Make(large.dim_size(axis), filters[axis - 1], stride_, dilation_, flipped);
    }
    if (flipped) {
      std::swap(g.inputs, g.outputs);
      std::swap(g.input_stride, g.output_stride);
    }
    return g;
  }
  int64_t stride_, dilation_;
};

template <typename T>
class Convolution : public ConvolutionOp {
 public:
  explicit Convolution(OpKernelConstruction* context) : ConvolutionOp(context) {
    OP_REQUIRES_OK(context, context->GetAttr("flipped", &flipped_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &x = context->input(0), &filters = context->input(1);
    const int rank = x.dims();
    OP_REQUIRES(context, (rank == 4 || rank == 5) && filters.dims() == rank,
                Misfit("x must be [N, (D,) H, W, C] and the filters one rank with it", x, filters));
    OP_REQUIRES(context, x.dim_size(rank - 1) == filters.dim_size(rank - (flipped_ ? 1 : 2)),
                Misfit("the channels of x must be those of the filters", x, filters));
    TensorShape shape = x.shape();
    shape.set_dim(rank - 1, filters.dim_size(rank - (flipped_ ? 2 : 1)));
    for (int i = 1; i < rank - 1; ++i) {
      const int64_t size = x.dim_size(i);
      OP_REQUIRES(context, filters.dim_size(i - 1) >= stride_,
                  Misfit("filters must not be smaller than the stride", x, filters));
      OP_REQUIRES(context, flipped_ || size % stride_ == 0,
                  Misfit("the stride must divide the sides of x", x, filters));
      shape.set_dim(i, flipped_ ? size * stride_ : size / stride_);
    }
    Tensor *y, packed;
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &y));
    if (x.NumElements() == 0 || y->NumElements() == 0) {
      y->flat<T>().setZero();
      return;
    }
    const Geometry g = MakeGeometry(flipped_ ? shape : x.shape(), Sizes(filters), flipped_);
    const PackedFilters layout(g, OutputBlock<T>::Padded(g.outputs));
    const auto type = tensorflow::DataTypeToEnum<T>::value;
    OP_REQUIRES_OK(context, context->allocate_temp(type, {layout.size}, &packed));
    Pack(g, layout, filters.flat<T>().data(), packed.flat<T>().data(), Parallel(context));
    Convolve(g, x.flat<T>().data(), layout, packed.flat<T>().data(), y->flat<T>().data(), Parallel(context));
  }

 private:
  static std::vector<int64_t> Sizes(const Tensor& filters) {
    const auto sizes = filters.shape().dim_sizes();
    return {sizes.begin(), sizes.end()};
  }
  absl::Status Misfit(const char* why, const Tensor& x, const Tensor& filters) const {
    return Refused(type_string(), ": ", why, "; x is ", x.shape().DebugString(), ", the filters are ",
                   filters.shape().DebugString(), ", the stride is ", stride_);
  }
  bool flipped_;
};

template <typename T>
class ConvolutionFilterGradient : public ConvolutionOp {
 public:
  explicit ConvolutionFilterGradient(OpKernelConstruction* context) : ConvolutionOp(context) {
    OP_REQUIRES_OK(context, context->GetAttr("taps", &taps_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &x = context->input(0), &dy = context->input(1);
    const int rank = x.dims();
    const int directions = taps_.size();
    bool fits = (rank == 4 || rank == 5) && dy.dims() == rank && directions == rank - 2 &&
                x.dim_size(0) == dy.dim_size(0);
    for (int i = 1; fits && i < rank - 1; ++i) {
      fits = x.dim_size(i) == stride_ * dy.dim_size(i) && taps_[i - 1] >= stride_;
    }
    OP_REQUIRES(context, fits,
                Refused(type_string(), ": for x of shape ", x.shape().DebugString(), ", ", absl::StrJoin(taps_, "x"),
                        " taps and stride ", stride_, ", dy does not fit: ", dy.shape().DebugString()));
    std::vector<int64_t> sizes = taps_;
    sizes.insert(sizes.end(), {x.dim_size(rank - 1), dy.dim_size(rank - 1)});
    Tensor *dfilters, partial;
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape(sizes), &dfilters));
    if (x.NumElements() == 0 || dy.NumElements() == 0) {
      dfilters->flat<T>().setZero();
      return;
    }
    const Geometry g = MakeGeometry(x.shape(), sizes, false);
    const PartialSums<T> sums(g);
    const auto type = tensorflow::DataTypeToEnum<T>::value;
    OP_REQUIRES_OK(context, context->allocate_temp(type, {sums.parts.pieces, sums.size}, &partial));
    T* values = partial.flat<T>().data();
    SumFilters(g, sums, x.flat<T>().data(), dy.flat<T>().data(), values, Parallel(context));
    AddFilters(g, sums, values, dfilters->flat<T>().data(), Parallel(context));
  }

 private:
  std::vector<int64_t> taps_;
};

// [N, each side by `side`, channels], for x of a known rank.
template <typename Side>
ShapeHandle MapLike(InferenceContext* c, ShapeHandle x, Side side, DimensionHandle channels) {
  std::vector<DimensionHandle> sizes{c->Dim(x, 0)};
  for (int i = 1; i < c->Rank(x) - 1; ++i) sizes.push_back(side(c->Dim(x, i)));
  sizes.push_back(channels);
  return c->MakeShape(sizes);
}

absl::Status InferConvolution(InferenceContext* c) {
  int64_t stride;
  bool flipped;
  TF_RETURN_IF_ERROR(c->GetAttr("stride", &stride));
  TF_RETURN_IF_ERROR(c->GetAttr("flipped", &flipped));
  const ShapeHandle filters = c->input(1);
  if (!c->RankKnown(filters)) {
    c->set_output(0, c->UnknownShape());
    return absl::OkStatus();
  }
  ShapeHandle x;
  DimensionHandle channels;
  TF_RETURN_IF_ERROR(c->WithRankAtLeast(filters, 4, &x));
  TF_RETURN_IF_ERROR(c->WithRankAtMost(filters, 5, &x));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), c->Rank(filters), &x));
  TF_RETURN_IF_ERROR(c->Merge(c->Dim(x, -1), c->Dim(filters, flipped ? -1 : -2), &channels));
  absl::Status status;
  const auto side = [&](DimensionHandle size) {
    DimensionHandle result;
    status.Update(flipped ? c->Multiply(size, stride, &result) : c->Divide(size, stride, true, &result));
    return result;
  };
  c->set_output(0, MapLike(c, x, side, c->Dim(filters, flipped ? -2 : -1)));
  return status;
}

absl::Status InferFilterGradient(InferenceContext* c) {
  std::vector<int64_t> taps;
  TF_RETURN_IF_ERROR(c->GetAttr("taps", &taps));
  ShapeHandle x, dy;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), taps.size() + 2, &x));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(1), taps.size() + 2, &dy));
  std::vector<DimensionHandle> sizes;
  for (const int64_t n : taps) sizes.push_back(c->MakeDim(n));
  sizes.insert(sizes.end(), {c->Dim(x, -1), c->Dim(dy, -1)});
  c->set_output(0, c->MakeShape(sizes));
  return absl::OkStatus();
}

}  // namespace

#define ILN_CONVOLUTION Attr("T: {float, double}").Attr("stride: int >= 1 = 1").Attr("dilation: int >= 1 = 1")
REGISTER_OP("IlnConvolution")
    .ILN_CONVOLUTION.Attr("flipped: bool = false").Input("x: T").Input("filters: T").Output("y: T")
    .SetShapeFn(InferConvolution);
REGISTER_OP("IlnConvolutionFilterGradient")
    .ILN_CONVOLUTION.Attr("taps: list(int) >= 2").Input("x: T").Input("dy: T").Output("dfilters: T")
    .SetShapeFn(InferFilterGradient);

#define REGISTER_CONVOLUTION(Op, T) \
  REGISTER_KERNEL_BUILDER(Name("Iln" #Op).Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T"), Op<T>)
REGISTER_CONVOLUTION(Convolution, float);
REGISTER_CONVOLUTION(Convolution, double);
REGISTER_CONVOLUTION(ConvolutionFilterGradient, float);
REGISTER_CONVOLUTION(ConvolutionFilterGradient, double);
