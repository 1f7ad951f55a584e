// The maximum over 2x2 pixels of feature maps that are read through their maps. A gradient goes to the first of equal
// pixels.

#ifndef ILNREPRO_POOLING_H_
#define ILNREPRO_POOLING_H_

#include <cstdint>
#include <vector>

#include "maps.h"
#include "parallel.h"

namespace iln {

constexpr int kPixels = 4;  // of a square, row by row

// Rows of squares, on which threads work.
struct Squares {
  int64_t instances, height, width, channels;  // of the pooled map

  int64_t rows() const { return instances * height; }
  int64_t step() const { return 2 * channels; }  // from square to square in x
  // Where the pixels of a row's first square begin in x.
  void Begin(int64_t row, int64_t* begin) const {
    const int64_t line = 2 * width * channels;
    for (int i = 0; i < kPixels; ++i) begin[i] = (2 * row + i / 2) * line + i % 2 * channels;
  }
};

template <typename T>
void MaxPool(const Squares& s, const Parallel& parallel, const T* x, const AffineMaps<T>& maps, T* y) {
  parallel(s.rows(), 2 * s.width * s.channels, [&](int64_t first, int64_t limit) {
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

template <typename T>
void MaxPoolGradient(const Squares& s, const Parallel& parallel, const T* dy, const T* x, const AffineMaps<T>& maps,
                     T* dx, T* dscale, T* doffset) {
  std::vector<double> rows(2 * s.rows() * s.channels);
  parallel(s.rows(), 4 * s.width * s.channels, [&](int64_t first, int64_t limit) {
    for (int64_t row = first; row < limit; ++row) {
      int64_t begin[kPixels];
      s.Begin(row, begin);
      double* sums = rows.data() + 2 * row * s.channels;
      ForEachVector<T>(s.channels, [&](int64_t c, auto lanes) INLINE {
        const AffineColumn<T> f = maps.Column(row / s.height * s.channels + c, lanes);
        const TwoSums<T> sum = SumOverPixels<TwoSums<T>>(s.width, [&](TwoSums<T>& sum, int64_t j) INLINE {
          const auto centred = [&](int i) INLINE {
            return Load(x + begin[i] + j * s.step() + c, lanes, f.mean) - f.mean;
          };
          Vector<T> d = centred(0), most = f.Forward(d), winner{};
          for (int i = 1; i < kPixels; ++i) {
            const Vector<T> other = centred(i), v = f.Forward(other);
            winner = v > most ? Vector<T>{} + static_cast<T>(i) : winner;
            d = v > most ? other : d;
            most = v > most ? v : most;
          }
          const Vector<T> g = Load(dy + (row * s.width + j) * s.channels + c, lanes, Vector<T>{});
          for (int i = 0; i < kPixels; ++i) {
            Store(dx + begin[i] + j * s.step() + c, lanes, winner == Vector<T>{} + static_cast<T>(i) ? g : Vector<T>{});
          }
          const Vector<T> passed = f.Gradient(g, d);
          sum.first += passed * d;
          sum.second += passed;
        });
        for (int i = 0; i < lanes; ++i) {
          sums[c + i] = sum.first[i];
          sums[s.channels + c + i] = sum.second[i];
        }
      });
    }
  });
  for (int64_t n = 0; n < s.instances; ++n) {
    for (int64_t c = 0; c < 2 * s.channels; ++c) {
      double total = 0;
      for (int64_t i = 0; i < s.height; ++i) total += rows[2 * (n * s.height + i) * s.channels + c];
      (c < s.channels ? dscale : doffset)[n * s.channels + c % s.channels] = static_cast<T>(total);
    }
  }
}

#define ILN_POOLING(External, T)                                                                        \
  External template void MaxPool(const Squares&, const Parallel&, const T*, const AffineMaps<T>&, T*); \
  External template void MaxPoolGradient(const Squares&, const Parallel&, const T*, const T*,          \
                                         const AffineMaps<T>&, T*, T*, T*);
ILN_FOR_TYPES(ILN_POOLING)

}  // namespace iln

#endif  // ILNREPRO_POOLING_H_
