// The centred affine map relu(scale * (x - mean) + offset) of a normalization: applied to rows of pixels where a
// feature map is read, and summed for, in the order of the pixels, where one is written.

#ifndef ILNREPRO_MAPS_H_
#define ILNREPRO_MAPS_H_

#include <algorithm>
#include <cstdint>
#include <utility>

#include "vectors.h"

namespace iln {

constexpr int kSums = 4;  // sums side by side, so that one addition need not wait for the last

// The map of one vector of channels. The gradient's mask is the sign of the forward pass's very expression.
template <typename T>
struct AffineColumn {
  Vector<T> mean, scale, offset, floor;  // floor: 0, or below all where there is no ReLU
  INLINE Vector<T> Forward(Vector<T> d) const {
    const Vector<T> z = scale * d + offset;
    return z <= floor ? floor : z;  // NaN stays NaN
  }
  INLINE Vector<T> Gradient(Vector<T> dy, Vector<T> d) const {
    return scale * d + offset > floor ? dy : Vector<T>{};
  }
};

// The maps of all instances and channels, coefficients [N, C]; none where mean is null.
template <typename T>
struct AffineMaps {
  const T *mean = nullptr, *scale = nullptr, *offset = nullptr;

  template <typename Lanes>
  INLINE AffineColumn<T> Column(int64_t at, Lanes lanes) const {
    constexpr Vector<T> zero{};
    return {Load(mean + at, lanes, zero), Load(scale + at, lanes, zero), Load(offset + at, lanes, zero), zero};
  }
};

// Calls visit(channel, lanes) for all vectors of channels; lanes is a compile-time constant except at a ragged end.
template <typename T, typename Visit>
INLINE inline void ForEachVector(int64_t channels, Visit visit) {
  int64_t c = 0;
  for (; c + kLanes<T> <= channels; c += kLanes<T>) visit(c, Constant<kLanes<T>>());
  if (c < channels) visit(c, static_cast<int>(channels - c));
}

// Calls step(sum, pixel) for all pixels, kSums of them side by side with a sum each, and returns the sums' sum.
template <typename Sum, typename Step>
INLINE inline Sum SumOverPixels(int64_t pixels, Step step) {
  constexpr std::make_integer_sequence<int, kSums> all;
  Sum sums[kSums] = {};
  int64_t i = 0;
  for (; i + kSums <= pixels; i += kSums) Unroll(all, [&](auto k) INLINE { step(sums[k], i + k); });
  for (; i < pixels; ++i) step(sums[0], i);
  for (int k = 1; k < kSums; ++k) sums[0] += sums[k];
  return sums[0];
}

template <typename T>
struct TwoSums {
  Vector<T> first, second;
  INLINE void operator+=(const TwoSums& other) {
    first += other.first;
    second += other.second;
  }
};

// Applies maps, the first one at `at` of the coefficients, to a row of pixels, `step` values apart.
template <typename T>
void ApplyMaps(const AffineMaps<T>& maps, int64_t at, T* row, int64_t pixels, int64_t step, int64_t channels) {
  ForEachVector<T>(channels, [&](int64_t c, auto lanes) INLINE {
    const AffineColumn<T> f = maps.Column(at + c, lanes);
    T* p = row + c;
    for (int64_t i = 0; i < pixels; ++i, p += step) Store(p, lanes, f.Forward(Load(p, lanes, f.mean) - f.mean));
  });
}

// Adds to the mean of a number of pixels, and the squares of their differences from it, those of a row of further ones,
// `step` values apart. The row is summed about the mean of its first sixteenth, and that about its first pixel: as
// (mean - shift)^2 <= squares / sixteenth, the shift costs digits of no more than a factor 16, outliers among the
// values or not, and a constant channel is its own shift.
template <typename T>
void AddMoments(const T* row, int64_t pixels, int64_t step, int64_t channels, int64_t before, double* mean,
                double* squares) {
  const int64_t leading = (pixels + 15) / 16;
  const double share = 1.0 / pixels, weight = 1.0 * pixels / (before + pixels);
  ForEachVector<T>(channels, [&](int64_t c, auto lanes) INLINE {
    const T* p = row + c;
    const Vector<T> first = Load(p, lanes, Vector<T>{});
    const auto about = [&](Vector<T> shift, int64_t n) INLINE {
      return SumOverPixels<TwoSums<T>>(n, [&](TwoSums<T>& sum, int64_t i) INLINE {
        const Vector<T> d = Load(p + i * step, lanes, shift) - shift;
        sum.first += d;
        sum.second += d * d;
      });
    };
    const Vector<T> shift = first + about(first, leading).first * static_cast<T>(1.0 / leading);
    const TwoSums<T> sum = about(shift, pixels);
    for (int i = 0; i < lanes; ++i) {
      const double total = sum.first[i], delta = shift[i] + total * share - mean[c + i];
      mean[c + i] += delta * weight;
      squares[c + i] += std::max(sum.second[i] - total * total * share, 0.0) + delta * delta * weight * before;
    }
  });
}

// Adds a row's sums of g * (x - mean) and of g, where g is dy where the map of x, the first one at `at`, is positive,
// and 0 elsewhere; pixels are `step` values apart.
template <typename T>
void AddGradientSums(const AffineMaps<T>& maps, int64_t at, const T* dy, const T* x, int64_t pixels, int64_t step,
                     int64_t channels, double* dscale, double* doffset) {
  ForEachVector<T>(channels, [&](int64_t c, auto lanes) INLINE {
    const AffineColumn<T> f = maps.Column(at + c, lanes);
    const TwoSums<T> sum = SumOverPixels<TwoSums<T>>(pixels, [&](TwoSums<T>& sum, int64_t i) INLINE {
      const int64_t j = c + i * step;
      const Vector<T> d = Load(x + j, lanes, f.mean) - f.mean;
      const Vector<T> g = f.Gradient(Load(dy + j, lanes, Vector<T>{}), d);
      sum.first += g * d;
      sum.second += g;
    });
    for (int i = 0; i < lanes; ++i) {
      dscale[c + i] += sum.first[i];
      doffset[c + i] += sum.second[i];
    }
  });
}

}  // namespace iln

#endif  // ILNREPRO_MAPS_H_
