// Convolutions as TensorFlow CPU operations on feature maps [N, (D,) H, W, C] and filters [(D,) H, W, C, K]:
// "SAME", of a stride that divides the sides, or with dilated taps. `flipped` is the transpose, from maps of K
// channels to maps of C: the gradient by the input, or what is called a transposed convolution.
//
// A convolution may read several maps, whose channels follow one another, each as relu(scale * (x - mean) + offset)
// with coefficients [N, C], and give the moments of what it writes. The gradient by such an x is that by its value after
// the ReLU; those of scale and offset are summed in the same pass.

#include "convolution.h"

#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"
#include "operations.h"

namespace iln {

class ConvolutionBase : public OpKernel {
 public:
  explicit ConvolutionBase(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("stride", &stride_));
    OP_REQUIRES_OK(context, context->GetAttr("dilation", &dilation_));
    OP_REQUIRES(context, stride_ == 1 || dilation_ == 1,
                Refused(type_string(), ": one of stride and dilation must be 1; they are ", stride_, " and ",
                        dilation_));
  }

 protected:
  // Of the convolution, or of its transpose, that maps `large` (times the stride) to `small` or back, for filters of
  // these sizes.
  Geometry MakeGeometry(const TensorShape& large, const std::vector<int64_t>& filters, bool flipped) const {
    const int rank = large.dims();
    const int64_t inputs = filters[rank - 2], outputs = filters[rank - 1];
    Geometry g{large.dim_size(0), {}, inputs, outputs, inputs * outputs, outputs, 1};
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
  static std::vector<int64_t> Sizes(const Tensor& filters) {
    const auto sizes = filters.shape().dim_sizes();
    return {sizes.begin(), sizes.end()};
  }
  // A source of this geometry, its filters packed into `memory`; `filters` begins at its first channel.
  template <typename T>
  absl::Status MakeSource(OpKernelContext* context, Geometry g, const T* x, AffineMaps<T> maps, const T* filters,
                          Tensor* memory, std::vector<Source<T>>* sources) const {
    PackedFilters layout(g, OutputBlock<T>::Padded(g.outputs));
    TF_RETURN_IF_ERROR(
        context->allocate_temp(tensorflow::DataTypeToEnum<T>::value, {layout.size}, memory));
    T* packed = memory->flat<T>().data();
    Pack(g, layout, filters, packed, Workers(context));
    sources->push_back({std::move(g), std::move(layout), x, packed, maps});
    return absl::OkStatus();
  }
  int64_t stride_, dilation_;
};

template <typename T>
class ConvolutionOp : public ConvolutionBase {
 public:
  explicit ConvolutionOp(OpKernelConstruction* context) : ConvolutionBase(context) {
    OP_REQUIRES_OK(context, context->GetAttr("flipped", &flipped_));
    OP_REQUIRES_OK(context, context->GetAttr("sources", &sources_));
    OP_REQUIRES_OK(context, context->GetAttr("coefficients", &coefficients_));
    OP_REQUIRES_OK(context, context->GetAttr("statistics", &statistics_));
    OP_REQUIRES(context, coefficients_ == 3 * sources_ || (coefficients_ == 0 && sources_ == 1),
                Refused(type_string(), ": ", sources_, " maps must have 3 coefficients each; there are ",
                        coefficients_));
    OP_REQUIRES(context, statistics_ == 0 || statistics_ == 2,
                Refused(type_string(), ": there are no or two statistics; not ", statistics_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &x = context->input(0), &filters = context->input(sources_);
    const int rank = x.dims();
    OP_REQUIRES(context, (rank == 4 || rank == 5) && filters.dims() == rank,
                Misfit("x must be [N, (D,) H, W, C] and the filters one rank with it", x, filters));
    int64_t channels = 0;
    for (int s = 0; s < sources_; ++s) {
      TensorShape like = context->input(s).shape();
      OP_REQUIRES(context, like.dims() == rank, Misfit("all maps must have one rank", context->input(s), filters));
      channels += like.dim_size(rank - 1);
      like.set_dim(rank - 1, x.dim_size(rank - 1));
      OP_REQUIRES(context, like == x.shape(), Misfit("all maps must have the same sides", context->input(s), filters));
    }
    OP_REQUIRES(context, channels == filters.dim_size(rank - (flipped_ ? 1 : 2)),
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
    Tensor *y, *moments[2];
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &y));
    const TensorShape per_channel({shape.dim_size(0), shape.dim_size(rank - 1)});
    for (int i = 0; i < statistics_; ++i) {
      OP_REQUIRES_OK(context, context->allocate_output(1 + i, per_channel, &moments[i]));
    }
    if (channels * x.dim_size(0) == 0 || y->NumElements() == 0) {
      y->flat<T>().setZero();
      const T value = y->NumElements() == 0 ? std::numeric_limits<T>::quiet_NaN() : T(0);  // of no pixels; of zeros
      for (int i = 0; i < statistics_; ++i) moments[i]->flat<T>().setConstant(value);
      return;
    }
    std::vector<Source<T>> sources;
    std::vector<Tensor> packed(sources_);
    const T* values = filters.flat<T>().data();
    const Geometry whole = MakeGeometry(flipped_ ? shape : x.shape(), Sizes(filters), flipped_);
    for (int s = 0; s < sources_; ++s) {
      const Tensor& source = context->input(s);
      AffineMaps<T> maps;
      if (coefficients_) OP_REQUIRES_OK(context, GetMaps(context, s, sources_ + 1 + 3 * s, &maps));
      Geometry g = whole;
      g.inputs = source.dim_size(rank - 1);
      if (g.inputs == 0) continue;
      OP_REQUIRES_OK(context, MakeSource(context, g, source.flat<T>().data(), maps, values, &packed[s], &sources));
      values += g.inputs * g.input_stride;
    }
    T* to = y->flat<T>().data();
    if (statistics_ == 0) {
      Convolve(sources, Workers(context), to);
    } else {
      ConvolveWithMoments(sources, Workers(context), to, moments[0]->flat<T>().data(), moments[1]->flat<T>().data());
    }
  }

 private:
  absl::Status Misfit(const char* why, const Tensor& x, const Tensor& filters) const {
    return Refused(type_string(), ": ", why, "; x is ", x.shape().DebugString(), ", the filters are ",
                   filters.shape().DebugString(), ", the stride is ", stride_);
  }
  bool flipped_;
  int sources_, coefficients_, statistics_;
};

// The gradient of a convolution by one of its sources, x, and by the scale and offset of x.
template <typename T>
class ConvolutionGradientOp : public ConvolutionBase {
 public:
  explicit ConvolutionGradientOp(OpKernelConstruction* context) : ConvolutionBase(context) {
    OP_REQUIRES_OK(context, context->GetAttr("flipped", &flipped_));
    OP_REQUIRES_OK(context, context->GetAttr("begin", &begin_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &dy = context->input(0), &filters = context->input(1), &x = context->input(2);
    const int rank = x.dims();
    bool fits = (rank == 4 || rank == 5) && dy.dims() == rank && filters.dims() == rank &&
                x.dim_size(0) == dy.dim_size(0) &&
                dy.dim_size(rank - 1) == filters.dim_size(rank - (flipped_ ? 2 : 1)) &&
                begin_ + x.dim_size(rank - 1) <= filters.dim_size(rank - (flipped_ ? 1 : 2));
    const Tensor &large = flipped_ ? dy : x, &small = flipped_ ? x : dy;
    for (int i = 1; fits && i < rank - 1; ++i) {
      fits = large.dim_size(i) == stride_ * small.dim_size(i) && filters.dim_size(i - 1) >= stride_;
    }
    OP_REQUIRES(context, fits,
                Refused(type_string(), ": for x of shape ", x.shape().DebugString(), ", filters of ",
                        filters.shape().DebugString(), " and stride ", stride_, ", dy does not fit: ",
                        dy.shape().DebugString()));
    AffineMaps<T> maps;
    OP_REQUIRES_OK(context, GetMaps(context, 2, 3, &maps));
    Tensor *dx, *sums[2];
    OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &dx));
    for (int i = 0; i < 2; ++i) {
      OP_REQUIRES_OK(context, context->allocate_output(1 + i, context->input(3).shape(), &sums[i]));
      sums[i]->flat<T>().setZero();
    }
    if (x.NumElements() == 0 || dy.NumElements() == 0) {
      dx->flat<T>().setZero();
      return;
    }
    Geometry g = MakeGeometry(large.shape(), Sizes(filters), !flipped_);
    g.outputs = x.dim_size(rank - 1);
    std::vector<Source<T>> sources;
    Tensor packed;
    OP_REQUIRES_OK(context, MakeSource(context, g, dy.flat<T>().data(), AffineMaps<T>{},
                                       filters.flat<T>().data() + begin_ * g.output_stride, &packed, &sources));
    ConvolveWithGradientSums(sources, Workers(context), x.flat<T>().data(), maps, dx->flat<T>().data(),
                             sums[0]->flat<T>().data(), sums[1]->flat<T>().data());
  }

 private:
  bool flipped_;
  int64_t begin_;
};

template <typename T>
class ConvolutionFilterGradientOp : public ConvolutionBase {
 public:
  explicit ConvolutionFilterGradientOp(OpKernelConstruction* context) : ConvolutionBase(context) {
    OP_REQUIRES_OK(context, context->GetAttr("taps", &taps_));
    OP_REQUIRES_OK(context, context->GetAttr("coefficients", &coefficients_));
    OP_REQUIRES_OK(context, context->GetAttr("flipped", &flipped_));
    OP_REQUIRES(context, coefficients_ == 0 || coefficients_ == 3,
                Refused(type_string(), ": a map has 3 coefficients; there are ", coefficients_));
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
    AffineMaps<T> x_maps, dy_maps;
    if (coefficients_ > 0) {
      OP_REQUIRES_OK(context, GetMaps(context, flipped_ ? 1 : 0, 2, flipped_ ? &dy_maps : &x_maps));
    }
    const PartialSums<T> sums(g);
    const int64_t parts = sums.parts.pieces;
    T *total = dfilters->flat<T>().data(), *values = total;
    if (parts > 1) {
      OP_REQUIRES_OK(context, context->allocate_temp(tensorflow::DataTypeToEnum<T>::value, {parts, g.values()},
                                                     &partial));
      values = partial.flat<T>().data();
    }
    SumFilters(g, sums, x.flat<T>().data(), x_maps, dy.flat<T>().data(), dy_maps, values, Workers(context));
    if (parts > 1) AddParts(values, parts, g.values(), total, Workers(context));
  }

 private:
  std::vector<int64_t> taps_;
  int coefficients_;
  bool flipped_;  // the maps are those of dy, the source of a transposed convolution
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
  int64_t stride, sources;
  bool flipped;
  TF_RETURN_IF_ERROR(c->GetAttr("stride", &stride));
  TF_RETURN_IF_ERROR(c->GetAttr("sources", &sources));
  TF_RETURN_IF_ERROR(c->GetAttr("flipped", &flipped));
  const ShapeHandle filters = c->input(sources);
  if (!c->RankKnown(filters)) {
    for (int i = 1; i < c->num_outputs(); ++i) c->set_output(i, c->UnknownShapeOfRank(2));
    c->set_output(0, c->UnknownShape());
    return absl::OkStatus();
  }
  ShapeHandle x;
  DimensionHandle channels = c->MakeDim(0);
  TF_RETURN_IF_ERROR(c->WithRankAtLeast(filters, 4, &x));
  TF_RETURN_IF_ERROR(c->WithRankAtMost(filters, 5, &x));
  for (int64_t s = sources - 1; s >= 0; --s) {
    TF_RETURN_IF_ERROR(c->WithRank(c->input(s), c->Rank(filters), &x));
    TF_RETURN_IF_ERROR(c->Add(channels, c->Dim(x, -1), &channels));
  }
  TF_RETURN_IF_ERROR(c->Merge(channels, c->Dim(filters, flipped ? -1 : -2), &channels));
  absl::Status status;
  const auto side = [&](DimensionHandle size) {
    DimensionHandle result;
    status.Update(flipped ? c->Multiply(size, stride, &result) : c->Divide(size, stride, true, &result));
    return result;
  };
  const DimensionHandle outputs = c->Dim(filters, flipped ? -2 : -1);
  c->set_output(0, MapLike(c, x, side, outputs));
  for (int i = 1; i < c->num_outputs(); ++i) c->set_output(i, c->Matrix(c->Dim(x, 0), outputs));
  return status;
}

// The outputs are like x, its scale, its offset.
absl::Status InferSourceGradient(InferenceContext* c) {
  for (int i = 0; i < 3; ++i) c->set_output(i, c->input(i == 0 ? 2 : 3 + i));
  return absl::OkStatus();
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

}  // namespace iln

#define ILN_CONVOLUTION Attr("T: {float, double}").Attr("stride: int >= 1 = 1").Attr("dilation: int >= 1 = 1")
REGISTER_OP("IlnConvolution")
    .ILN_CONVOLUTION.Attr("flipped: bool = false").Attr("sources: int >= 1").Attr("coefficients: int >= 0")
    .Attr("statistics: int >= 0").Input("x: sources * T").Input("filters: T").Input("maps: coefficients * T")
    .Output("y: T").Output("moments: statistics * T").SetShapeFn(iln::InferConvolution);
REGISTER_OP("IlnConvolutionGradient")
    .ILN_CONVOLUTION.Attr("flipped: bool = false").Attr("begin: int >= 0").Input("dy: T").Input("filters: T")
    .Input("x: T").Input("mean: T").Input("scale: T").Input("offset: T").Output("dx: T").Output("dscale: T")
    .Output("doffset: T").SetShapeFn(iln::InferSourceGradient);
REGISTER_OP("IlnConvolutionFilterGradient")
    .ILN_CONVOLUTION.Attr("taps: list(int) >= 2").Attr("flipped: bool = false").Attr("coefficients: int >= 0")
    .Input("x: T").Input("dy: T").Input("map: coefficients * T").Output("dfilters: T")
    .SetShapeFn(iln::InferFilterGradient);

#define REGISTER_CONVOLUTION(Kind, T) \
  REGISTER_KERNEL_BUILDER(Name("Iln" #Kind).Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T"), \
                          iln::Kind##Op<T>)
REGISTER_CONVOLUTION(Convolution, float);
REGISTER_CONVOLUTION(Convolution, double);
REGISTER_CONVOLUTION(ConvolutionGradient, float);
REGISTER_CONVOLUTION(ConvolutionGradient, double);
REGISTER_CONVOLUTION(ConvolutionFilterGradient, float);
REGISTER_CONVOLUTION(ConvolutionFilterGradient, double);
