// The maximum over 2x2 pixels of feature maps [N, H, W, C] that are read as relu(scale * (x - mean) + offset), with
// coefficients [N, C], as TensorFlow CPU operations. A gradient goes to the first of equal pixels.

#include <cstdint>
#include <vector>

#include "maps.h"
#include "operations.h"

namespace {

constexpr int kPixels = 4;  // of a square, row by row

// Rows of squares, on which threads work.
struct Squares {
  int64_t instances, height, width, channels;  // of the pooled map

  explicit Squares(const TensorShape& x)
      : instances(x.dim_size(0)), height(x.dim_size(1) / 2), width(x.dim_size(2) / 2), channels(x.dim_size(3)) {}
  int64_t rows() const { return instances * height; }
  int64_t step() const { return 2 * channels; }  // from square to square in x
  // Where the pixels of a row's first square begin in x.
  void Begin(int64_t row, int64_t* begin) const {
    const int64_t line = 2 * width * channels;
    for (int i = 0; i < kPixels; ++i) begin[i] = (2 * row + i / 2) * line + i % 2 * channels;
  }
};

class MappedOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

 protected:
  // Checks x, input number `at`, and the coefficients after it.
  absl::Status Check(OpKernelContext* context, int at) const {
    const TensorShape& x = context->input(at).shape();
    if (x.dims() != 4 || x.dim_size(1) % 2 || x.dim_size(2) % 2) {
      return Refused(type_string(), ": x must be [N, H, W, C] with even sides; it is ", x.DebugString());
    }
    const TensorShape expected({x.dim_size(0), x.dim_size(3)});
    for (int i = at + 1; i < at + 4; ++i) {
      if (context->input(i).shape() != expected) {
        return Refused(type_string(), ": for x of shape ", x.DebugString(), ", its mean, scale and offset must be ",
                       expected.DebugString(), "; one is ", context->input(i).shape().DebugString());
      }
    }
    return absl::OkStatus();
  }
  static TensorShape Pooled(const TensorShape& x) {
    return {x.dim_size(0), x.dim_size(1) / 2, x.dim_size(2) / 2, x.dim_size(3)};
  }
  template <typename T>
  static AffineMaps<T> Maps(OpKernelContext* context, int at) {
    const auto data = [&](int i) { return context->input(at + i).flat<T>().data(); };
    return {data(1), data(2), data(3)};
  }
};

template <typename T>
class MaxPool : public MappedOp {
 public:
  using MappedOp::MappedOp;

  void Compute(OpKernelContext* context) override {
    OP_REQUIRES_OK(context, Check(context, 0));
    const Squares s(context->input(0).shape());
    const AffineMaps<T> maps = Maps<T>(context, 0);
    Tensor* output;
    OP_REQUIRES_OK(context, context->allocate_output(0, Pooled(context->input(0).shape()), &output));
    if (output->NumElements() == 0) return;
    const T* x = context->input(0).flat<T>().data();
    T* y = output->flat<T>().data();
    Parallel(context)(s.rows(), 2 * s.width * s.channels, [&](int64_t first, int64_t limit) {
      for (int64_t row = first; row < limit; ++row) {
        int64_t begin[kPixels];
        s.Begin(row, begin);
        ForEachVector<T>(s.channels, [&](int64_t c, auto lanes) INLINE {
          const AffineColumn<T> f = maps.Column(row / s.height * s.channels + c, lanes);
          for (int64_t j = 0; j < s.width; ++j) {
            const auto value = [&](int i) INLINE {
              return f.Forward(Load(x + begin[i] + j * s.step() + c, lanes, f.mean) - f.mean);
            };
            Vector<T> most = value(0);
            for (int i = 1; i < kPixels; ++i) {
              const Vector<T> v = value(i);
              most = v > most ? v : most;
            }
            Store(y + (row * s.width + j) * s.channels + c, lanes, most);
          }
        });
      }
    });
  }
};

template <typename T>
class MaxPoolGradient : public MappedOp {
 public:
  using MappedOp::MappedOp;

  void Compute(OpKernelContext* context) override {
    OP_REQUIRES_OK(context, Check(context, 1));
    const Tensor &dy = context->input(0), &x = context->input(1);
    OP_REQUIRES(context, dy.shape() == Pooled(x.shape()),
                Refused(type_string(), ": for x of shape ", x.shape().DebugString(), ", dy does not fit: ",
                        dy.shape().DebugString()));
    const Squares s(x.shape());
    const AffineMaps<T> maps = Maps<T>(context, 1);
    Tensor *dx, *sums[2];
    OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &dx));
    for (int i = 0; i < 2; ++i) {
      OP_REQUIRES_OK(context, context->allocate_output(1 + i, context->input(2).shape(), &sums[i]));
    }
    std::vector<double> rows(2 * s.rows() * s.channels);
    const T *from = x.flat<T>().data(), *gradient = dy.flat<T>().data();
    T* to = dx->flat<T>().data();
    Parallel(context)(s.rows(), 4 * s.width * s.channels, [&](int64_t first, int64_t limit) {
      for (int64_t row = first; row < limit; ++row) {
        int64_t begin[kPixels];
        s.Begin(row, begin);
        double* dscale = rows.data() + 2 * row * s.channels;
        ForEachVector<T>(s.channels, [&](int64_t c, auto lanes) INLINE {
          const AffineColumn<T> f = maps.Column(row / s.height * s.channels + c, lanes);
          const TwoSums<T> sum = SumOverPixels<TwoSums<T>>(s.width, [&](TwoSums<T>& sum, int64_t j) INLINE {
            const auto centred = [&](int i) INLINE {
              return Load(from + begin[i] + j * s.step() + c, lanes, f.mean) - f.mean;
            };
            Vector<T> d = centred(0), most = f.Forward(d), winner{};
            for (int i = 1; i < kPixels; ++i) {
              const Vector<T> other = centred(i), v = f.Forward(other);
              winner = v > most ? Vector<T>{} + static_cast<T>(i) : winner;
              d = v > most ? other : d;
              most = v > most ? v : most;
            }
            const Vector<T> g = Load(gradient + (row * s.width + j) * s.channels + c, lanes, Vector<T>{});
            for (int i = 0; i < kPixels; ++i) {
              Store(to + begin[i] + j * s.step() + c, lanes, winner == Vector<T>{} + static_cast<T>(i) ? g : Vector<T>{});
            }
            const Vector<T> passed = f.Gradient(g, d);
            sum.first += passed * d;
            sum.second += passed;
          });
          for (int i = 0; i < lanes; ++i) {
            dscale[c + i] = sum.first[i];
            dscale[s.channels + c + i] = sum.second[i];
          }
        });
      }
    });
    for (int64_t n = 0; n < s.instances; ++n) {
      for (int64_t c = 0; c < 2 * s.channels; ++c) {
        double total = 0;
        for (int64_t i = 0; i < s.height; ++i) total += rows[2 * (n * s.height + i) * s.channels + c];
        sums[c / s.channels]->flat<T>()(n * s.channels + c % s.channels) = static_cast<T>(total);
      }
    }
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

}  // namespace

REGISTER_OP("IlnMaxPool")
    .Attr("T: {float, double}").Input("x: T").Input("mean: T").Input("scale: T").Input("offset: T").Output("y: T")
    .SetShapeFn(InferMaxPool);
REGISTER_OP("IlnMaxPoolGradient")
    .Attr("T: {float, double}").Input("dy: T").Input("x: T").Input("mean: T").Input("scale: T").Input("offset: T")
    .Output("dx: T").Output("dscale: T").Output("doffset: T").SetShapeFn(InferMaxPoolGradient);

#define REGISTER_POOLING(Op, T) \
  REGISTER_KERNEL_BUILDER(Name("Iln" #Op).Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T"), Op<T>)
REGISTER_POOLING(MaxPool, float);
REGISTER_POOLING(MaxPool, double);
REGISTER_POOLING(MaxPoolGradient, float);
REGISTER_POOLING(MaxPoolGradient, double);
