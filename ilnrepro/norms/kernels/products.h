// The innermost sums of convolutions: kHeight values by kWidth vectors, each in a register.

#ifndef ILNREPRO_PRODUCTS_H_
#define ILNREPRO_PRODUCTS_H_

#include <cstdint>
#include <utility>

#include "vectors.h"

namespace iln {

#if defined(__AVX512F__)
constexpr int kHeight = 12;  // of 32 registers; of 16 else
#else
constexpr int kHeight = 6;
#endif
constexpr int kWidth = 2;

// y[y_at[i]][:] = (its value +) sum over windows and j of x[x_at[i] + window + j] * w[window][j][:], for i < height.
template <typename T, int height, int width>
void Multiply(const T* x, const int64_t* x_at, const int64_t* windows, int64_t window_count, int64_t length,
              const T* w, T* y, const int64_t* y_at, int64_t channels, bool add) {
  constexpr std::make_integer_sequence<int, height> rows;
  constexpr std::make_integer_sequence<int, width> columns;
  constexpr int lanes = kLanes<T>;
  const int last = channels - (width - 1) * lanes;
  Vector<T> sum[height][width] = {};
  if (add) {
    Unroll(rows, [&](auto i) INLINE {
      Unroll(columns, [&](auto v) INLINE {
        const T* p = y + y_at[i] + v * lanes;
        sum[i][v] = v + 1 < width ? Load(p, Constant<lanes>(), Vector<T>{}) : Load(p, last, Vector<T>{});
      });
    });
  }
  const T* p[height];
  Unroll(rows, [&](auto i) INLINE { p[i] = x + x_at[i]; });
  for (int64_t window = 0; window < window_count; ++window) {
    for (int64_t j = windows[window], end = j + length; j < end; ++j, w += width * lanes) {
      Vector<T> weights[width];
      Unroll(columns, [&](auto v) INLINE { weights[v] = Load(w + v * lanes, Constant<lanes>(), Vector<T>{}); });
      Unroll(rows, [&](auto i) INLINE {
        Unroll(columns, [&](auto v) INLINE { sum[i][v] += p[i][j] * weights[v]; });
      });
    }
  }
  Unroll(rows, [&](auto i) INLINE {
    Unroll(columns, [&](auto v) INLINE {
      T* p = y + y_at[i] + v * lanes;
      v + 1 < width ? Store(p, Constant<lanes>(), sum[i][v]) : Store(p, last, sum[i][v]);
    });
  });
}

// sums[places[i]][:] = (its value +) sum over the pixels of some rows of x[pixel][i] * g[pixel][:], for i < height.
template <typename T, int height, int width>
void MultiplyOuter(const T* x, int64_t x_row, int64_t x_step, const T* g, int64_t g_row, int64_t g_step,
                   int64_t rows, int64_t pixels, T* sums, const int64_t* places, int64_t channels, bool add) {
  constexpr std::make_integer_sequence<int, height> all;
  constexpr std::make_integer_sequence<int, width> columns;
  constexpr int lanes = kLanes<T>;
  const int last = channels - (width - 1) * lanes;
  Vector<T> sum[height][width] = {};
  for (int64_t r = 0; r < rows; ++r, x += x_row, g += g_row) {
    const T *p = x, *q = g;
    for (int64_t i = 0; i < pixels; ++i, p += x_step, q += g_step) {
      Vector<T> gradient[width];
      Unroll(columns, [&](auto v) INLINE { gradient[v] = Load(q + v * lanes, Constant<lanes>(), Vector<T>{}); });
      Unroll(all, [&](auto i) INLINE {
        Unroll(columns, [&](auto v) INLINE { sum[i][v] += p[i] * gradient[v]; });
      });
    }
  }
  Unroll(all, [&](auto i) INLINE {
    Unroll(columns, [&](auto v) INLINE {
      T* p = sums + places[i] + v * lanes;
      const auto store = [&](auto count) INLINE {
        Store(p, count, add ? Load(p, count, Vector<T>{}) + sum[i][v] : sum[i][v]);
      };
      v + 1 < width ? store(Constant<lanes>()) : store(last);
    });
  });
}

// The functions for heights 1 to kHeight and widths 1 and 2.
template <typename T>
struct Products {
  using Forward = decltype(&Multiply<T, 1, 1>);
  using Outer = decltype(&MultiplyOuter<T, 1, 1>);
  Forward forward[kWidth][kHeight];
  Outer outer[kWidth][kHeight];

  template <int... i>
  explicit constexpr Products(std::integer_sequence<int, i...>)
      : forward{{&Multiply<T, i + 1, 1>...}, {&Multiply<T, i + 1, 2>...}},
        outer{{&MultiplyOuter<T, i + 1, 1>...}, {&MultiplyOuter<T, i + 1, 2>...}} {}
};
template <typename T>
constexpr Products<T> kProducts{std::make_integer_sequence<int, kHeight>()};

}  // namespace iln

#endif  // ILNREPRO_PRODUCTS_H_
