// The four streaming passes of a normalization as TensorFlow CPU operations on feature maps x [N, ..., C] and
// coefficients [N, C].

#include "streaming.h"

#include <cstdint>

#include "operations.h"

namespace iln {

// The passes, given their inputs: kFeatureMaps arrays of the shape of x, x the last of them, then coefficients.

template <typename T>
absl::Status TwoOutputs(OpKernelContext* context, const Layout& s, T** first, T** second) {
  T** values[] = {first, second};
  for (int i = 0; i < 2; ++i) {
    Tensor* output;
    TF_RETURN_IF_ERROR(context->allocate_output(i, {s.instances, s.channels}, &output));
    *values[i] = output->flat<T>().data();
  }
  return absl::OkStatus();
}

// The output that takes the place of the first input, if nobody else needs that.
template <typename T>
absl::Status OutputInPlace(OpKernelContext* context, T** values) {
  Tensor* output;
  TF_RETURN_IF_ERROR(context->forward_input_or_allocate_output({0}, 0, context->input(0).shape(), &output));
  *values = output->flat<T>().data();
  return absl::OkStatus();
}

template <typename T>
AffineMaps<T> MapsFrom(OpKernelContext* context, int first) {
  return {Data<T>(context, first), Data<T>(context, first + 1), Data<T>(context, first + 2)};
}

template <typename T>
struct MomentsPass {
  static constexpr int kFeatureMaps = 1;
  static void Run(OpKernelContext* context, const Layout& s, bool) {
    T *mean, *variance;
    OP_REQUIRES_OK(context, TwoOutputs(context, s, &mean, &variance));
    Moments(s, Workers(context), Data<T>(context, 0), mean, variance);
  }
};

template <typename T>
struct ApplyPass {
  static constexpr int kFeatureMaps = 1;
  static void Run(OpKernelContext* context, const Layout& s, bool relu) {
    T* y;
    OP_REQUIRES_OK(context, OutputInPlace(context, &y));
    Apply(s, Workers(context), Data<T>(context, 0), MapsFrom<T>(context, 1), relu, y);
  }
};

template <typename T>
struct ApplyGradientSumsPass {
  static constexpr int kFeatureMaps = 2;
  static void Run(OpKernelContext* context, const Layout& s, bool relu) {
    T *dscale, *doffset;
    OP_REQUIRES_OK(context, TwoOutputs(context, s, &dscale, &doffset));
    ApplyGradientSums(s, Workers(context), Data<T>(context, 0), Data<T>(context, 1), MapsFrom<T>(context, 2), relu,
                      dscale, doffset);
  }
};

template <typename T>
struct ApplyGradientInputPass {
  static constexpr int kFeatureMaps = 2;
  static void Run(OpKernelContext* context, const Layout& s, bool relu) {
    T* dx;
    OP_REQUIRES_OK(context, OutputInPlace(context, &dx));
    ApplyGradientInput(s, Workers(context), Data<T>(context, 0), Data<T>(context, 1), MapsFrom<T>(context, 2), relu,
                       Data<T>(context, 5), Data<T>(context, 6), dx);
  }
};

template <typename Pass>
class StreamingOp : public OpKernel {
 public:
  explicit StreamingOp(OpKernelConstruction* context) : OpKernel(context) {
    if (context->HasAttr("relu")) OP_REQUIRES_OK(context, context->GetAttr("relu", &relu_));
  }

  void Compute(OpKernelContext* context) override {
    const TensorShape& shape = context->input(Pass::kFeatureMaps - 1).shape();
    OP_REQUIRES(context, shape.dims() >= 2,
                Refused(type_string(), ": x must be [N, ..., C]; it is ", shape.DebugString()));
    int64_t pixels = 1;
    for (int i = 1; i + 1 < shape.dims(); ++i) pixels *= shape.dim_size(i);
    const Layout layout(shape.dim_size(0), pixels, shape.dim_size(shape.dims() - 1));
    const TensorShape coefficients({layout.instances, layout.channels});
    for (int i = 0; i < context->num_inputs(); ++i) {
      const TensorShape& expected = i < Pass::kFeatureMaps ? shape : coefficients;
      const TensorShape& actual = context->input(i).shape();
      OP_REQUIRES(context, actual == expected,
                  Refused(type_string(), ": for x of shape ", shape.DebugString(), ", input ", i, " must be ",
                          expected.DebugString(), "; it is ", actual.DebugString()));
    }
    Pass::Run(context, layout, relu_);
  }

 private:
  bool relu_ = false;
};

// Checks the shapes of all inputs against x, and sets those of the outputs: one like x, or two [N, C].
template <int feature_maps, int outputs>
absl::Status InferShapes(InferenceContext* c) {
  ShapeHandle x, coefficients;
  TF_RETURN_IF_ERROR(c->WithRankAtLeast(c->input(feature_maps - 1), 2, &x));
  for (int i = 0; i < feature_maps; ++i) TF_RETURN_IF_ERROR(c->Merge(x, c->input(i), &x));
  coefficients = c->RankKnown(x) ? c->Matrix(c->Dim(x, 0), c->Dim(x, -1)) : c->UnknownShapeOfRank(2);
  for (int i = feature_maps; i < c->num_inputs(); ++i) {
    TF_RETURN_IF_ERROR(c->Merge(coefficients, c->input(i), &coefficients));
  }
  for (int i = 0; i < outputs; ++i) c->set_output(i, outputs == 1 ? x : coefficients);
  return absl::OkStatus();
}

}  // namespace iln

// The widest vectors that the compiler was told to use: what the last bits of a sum depend on.
extern "C" const char* iln_instruction_set() {
#if defined(__AVX512F__)
  return "AVX-512";
#elif defined(__AVX2__) && defined(__FMA__)
  return "AVX2 with FMA";
#elif defined(__AVX__)
  return "AVX";
#elif defined(__SSE2__)
  return "SSE2";
#elif defined(__ARM_NEON)
  return "NEON";
#else
  return "generic";
#endif
}

#define ILN_FLOAT Attr("T: {float, double}")
#define ILN_MAP Attr("relu: bool").Input("mean: T").Input("scale: T").Input("offset: T")
REGISTER_OP("IlnMoments").ILN_FLOAT.Input("x: T").Output("mean: T").Output("variance: T").SetShapeFn(
    iln::InferShapes<1, 2>);
REGISTER_OP("IlnApply").ILN_FLOAT.Input("x: T").ILN_MAP.Output("y: T").SetShapeFn(iln::InferShapes<1, 1>);
REGISTER_OP("IlnApplyGradientSums")
    .ILN_FLOAT.Input("dy: T").Input("x: T").ILN_MAP
    .Output("dscale: T").Output("doffset: T").SetShapeFn(iln::InferShapes<2, 2>);
REGISTER_OP("IlnApplyGradientInput")
    .ILN_FLOAT.Input("dy: T").Input("x: T").ILN_MAP.Input("dmean: T").Input("dvariance: T")
    .Output("dx: T").SetShapeFn(iln::InferShapes<2, 1>);

#define REGISTER_STREAMING(Kind, T)                                                                \
  REGISTER_KERNEL_BUILDER(Name("Iln" #Kind).Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T"), \
                          iln::StreamingOp<iln::Kind##Pass<T>>)
REGISTER_STREAMING(Moments, float);
REGISTER_STREAMING(Moments, double);
REGISTER_STREAMING(Apply, float);
REGISTER_STREAMING(Apply, double);
REGISTER_STREAMING(ApplyGradientSums, float);
REGISTER_STREAMING(ApplyGradientSums, double);
REGISTER_STREAMING(ApplyGradientInput, float);
REGISTER_STREAMING(ApplyGradientInput, double);
