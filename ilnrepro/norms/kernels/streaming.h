// The four streaming passes of a normalization in the centred form y = relu(scale * (x - mean) + offset), on feature
// maps x of N instances, P pixels, C channels, with coefficients of shape [N, C].
//
// Each instance is cut into blocks of pixels whose size depends on the shape alone. Inside a block the
// arithmetic is that of the feature map; blocks are summed in double, in their order. So the bits of a result
// do not depend on the number of threads.

#ifndef ILNREPRO_STREAMING_H_
#define ILNREPRO_STREAMING_H_

#include <algorithm>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include "maps.h"
#include "parallel.h"
#include "vectors.h"

namespace iln {

constexpr int kTile = 4;             // vectors side by side whose sums stay in registers along a column
constexpr int kUnit = 16;            // a row's width is a multiple of this, which is one of any kLanes
constexpr int kWideRow = 256;        // from so many channels on, a row is one pixel, its end ragged or not
constexpr int kChunkValues = 2048;   // values over which a column runs down before the next one starts
constexpr int kBlockValues = 16384;  // values in a block: 64 KiB of float
constexpr int kBlockCycles = 5000;   // the cost of a block, roughly
constexpr int kPrefetchBytes = 8192;

// How a feature map is walked. A row is so many whole pixels that it fills whole vectors, whatever the number
// of channels; coefficients are repeated to the width of a row.
struct Layout {
  int64_t instances, pixels, channels;
  int64_t pixels_per_row = 1, width, pixels_per_block, blocks_per_instance;

  Layout(int64_t instances, int64_t pixels, int64_t channels)
      : instances(instances), pixels(pixels), channels(channels) {
    if (channels > 0 && channels < kWideRow) {
      pixels_per_row = kUnit / std::gcd<int64_t>(kUnit, channels);
      pixels_per_row *= (kTile * kLanes<float> - 1) / (pixels_per_row * channels) + 1;
    }
    width = pixels_per_row * channels;
    pixels_per_block = pixels_per_row * std::max<int64_t>(kBlockValues / std::max<int64_t>(width, 1), 1);
    blocks_per_instance = channels > 0 ? (pixels + pixels_per_block - 1) / pixels_per_block : 0;
  }
};

struct Block {
  int64_t index, instance, pixels, begin;  // begin: of its values in the feature map
};

// Calls work(block) for every block, in parallel; make_work() makes the work of one thread.
template <typename MakeWork>
void ForEachBlock(const Layout& s, const Parallel& parallel, MakeWork make_work) {
  const auto range = [&](int64_t first, int64_t limit) {
    auto work = make_work();
    for (int64_t index = first; index < limit; ++index) {
      const int64_t instance = index / s.blocks_per_instance;
      const int64_t pixel = index % s.blocks_per_instance * s.pixels_per_block;
      work(Block{index, instance, std::min(s.pixels_per_block, s.pixels - pixel),
                 (instance * s.pixels + pixel) * s.channels});
    }
  };
  parallel(s.instances * s.blocks_per_instance, kBlockCycles, range);
}

// The same from a feature map. Hardware alone does not fetch two streams early enough to fill the bandwidth.
template <typename T, typename Lanes>
INLINE inline Vector<T> Stream(const T* p, Lanes lanes, Vector<T> padding) {
  __builtin_prefetch(reinterpret_cast<const char*>(p) + kPrefetchBytes);
  return Load(p, lanes, padding);
}

// Walks the vectors of a block: state = begin(column) opens a column of the rows, step(state, at, lanes)
// takes the `lanes` values at `at` of one row, and end(column, state) closes it. lanes is a compile-time
// constant except at a ragged end.
template <typename T, typename Begin, typename Step, typename End>
INLINE inline void Sweep(const Layout& s, int64_t pixels, Begin begin, Step step, End end) {
  const auto columns = [&](int64_t at, int64_t j, int64_t rows, auto tile, auto lanes) INLINE {
    constexpr std::make_integer_sequence<int, decltype(tile)::value> all;
    decltype(begin(j)) state[tile];
    Unroll(all, [&](auto i) INLINE { state[i] = begin(j + i * kLanes<T>); });
    for (int64_t r = 0; r < rows; ++r, at += s.width) {
      Unroll(all, [&](auto i) INLINE { step(state[i], at + i * kLanes<T>, lanes); });
    }
    Unroll(all, [&](auto i) INLINE { end(j + i * kLanes<T>, state[i]); });
  };
  const auto chunk = [&](int64_t at, int64_t width, int64_t rows) INLINE {
    constexpr Constant<kLanes<T>> lanes;
    int64_t j = 0;
    for (; j + kTile * lanes <= width; j += kTile * lanes) columns(at + j, j, rows, Constant<kTile>(), lanes);
    for (; j + lanes <= width; j += lanes) columns(at + j, j, rows, Constant<1>(), lanes);
    if (j < width) columns(at + j, j, rows, Constant<1>(), static_cast<int>(width - j));
  };
  const int64_t rows = pixels / s.pixels_per_row, rest = pixels % s.pixels_per_row * s.channels;
  const int64_t rows_per_chunk = std::max<int64_t>(kChunkValues / s.width, 8);
  // The last chunk is what fills no row. One call, for all that it inlines is compiled for each.
  for (int64_t r = 0, count; r < rows + (rest > 0); r += count) {
    count = r < rows ? std::min(rows_per_chunk, rows - r) : 1;
    chunk(r * s.width, r < rows ? s.width : rest, count);
  }
}

// One value for each column of a row, rounded up to whole vectors.
template <typename T>
class Row {
 public:
  explicit Row(const Layout& s) : s_(s), values_((s.width + kUnit - 1) / kUnit * kUnit) {}

  Vector<T> operator[](int64_t column) const {
    return Load(values_.data() + column, Constant<kLanes<T>>(), Vector<T>{});
  }
  void Set(int64_t column, Vector<T> value) { Store(values_.data() + column, Constant<kLanes<T>>(), value); }
  void Clear() { std::fill(values_.begin(), values_.end(), T(0)); }

  // Sets the columns of each channel to value(channel).
  template <typename Value>
  void Repeat(Value value) {
    for (int64_t c = 0; c < s_.channels; ++c) values_[c] = value(c);
    for (int64_t j = s_.channels; j < s_.width; ++j) values_[j] = values_[j - s_.channels];
  }
  T Value(int64_t channel) const { return values_[channel]; }
  // The sum of the columns of a channel.
  double Sum(int64_t channel) const {
    double sum = 0;
    for (int64_t j = channel; j < s_.width; j += s_.channels) sum += values_[j];
    return sum;
  }

 private:
  const Layout& s_;
  std::vector<T> values_;
};

// The coefficients of one instance, times a factor.
template <typename T>
class Coefficients : public Row<T> {
 public:
  Coefficients(const T* all, const Layout& s, double factor = 1)
      : Row<T>(s), all_(all), channels_(s.channels), factor_(factor) {}
  void Select(int64_t instance) {
    if (instance == instance_) return;
    instance_ = instance;
    this->Repeat([&](int64_t c) { return static_cast<T>(all_[instance * channels_ + c] * factor_); });
  }

 private:
  const T* all_;
  int64_t channels_, instance_ = -1;
  double factor_;
};

// The centred affine map of one instance, and its rectification: where there is none, the floor is below all.
template <typename T>
struct AffineMap {
  AffineMap(const AffineMaps<T>& maps, const Layout& s, bool relu)
      : mean(maps.mean, s), scale(maps.scale, s), offset(maps.offset, s),
        floor(relu ? T(0) : -std::numeric_limits<T>::infinity()) {}
  void Select(int64_t instance) {
    mean.Select(instance);
    scale.Select(instance);
    offset.Select(instance);
  }
  using Column = AffineColumn<T>;
  INLINE Column operator[](int64_t j) const { return {mean[j], scale[j], offset[j], Vector<T>{} + floor}; }

  Coefficients<T> mean, scale, offset;
  T floor;
};

// Reduces a feature map to two arrays [N, C], first and second. work(block, first, second) sets two doubles a channel
// for a block; add(first, second, block_first, block_second, pixels so far, pixels of the block) then adds the
// blocks up, from `initial` on.
template <typename T, typename MakeWork, typename Add>
void Reduce(const Layout& s, const Parallel& parallel, double initial, MakeWork make_work, Add add, T* first,
            T* second) {
  std::vector<double> sums(2 * s.instances * s.blocks_per_instance * s.channels);
  const auto sums_of = [data = sums.data(), &s](int64_t block) {
    return data + 2 * s.channels * block;
  };
  ForEachBlock(s, parallel, [&] {
    return [&, work = make_work()](const Block& block) mutable {
      work(block, sums_of(block.index), sums_of(block.index) + s.channels);
    };
  });
  std::vector<double> totals(2 * s.channels);
  for (int64_t n = 0; n < s.instances; ++n) {
    std::fill(totals.begin(), totals.end(), initial);
    for (int64_t i = 0; i < s.blocks_per_instance; ++i) {
      const double* block = sums_of(n * s.blocks_per_instance + i);
      const int64_t before = i * s.pixels_per_block;
      const int64_t pixels = std::min(s.pixels_per_block, s.pixels - before);
      for (int64_t c = 0; c < s.channels; ++c) {
        add(totals[c], totals[s.channels + c], block[c], block[s.channels + c], before, pixels);
      }
    }
    for (int64_t c = 0; c < s.channels; ++c) {
      first[n * s.channels + c] = static_cast<T>(totals[c]);
      second[n * s.channels + c] = static_cast<T>(totals[s.channels + c]);
    }
  }
}

// ---- The passes

// Sums about a shift, the mean of the block's first K of B pixels. As (mean - shift)^2 <= squares / K, the
// shift costs digits of no more than a factor B / K <= 16, whatever the values, outliers among the K included. It
// is itself taken about the first pixel, so that a constant channel is its own shift.
template <typename T>
void Moments(const Layout& s, const Parallel& parallel, const T* x, T* mean, T* variance) {
  struct Column {
    Vector<T> shift, sum, square;
  };
  const auto make_work = [&] {
    return [x, &s, shift = Row<T>(s), sum = Row<T>(s), square = Row<T>(s)](const Block& block, double* mean,
                                                                           double* squares) mutable {
      const T* p = x + block.begin;
      const int64_t leading = std::min(block.pixels, std::max((block.pixels + 15) / 16, s.pixels_per_row));
      const auto step = [p](Column& f, int64_t i, auto lanes) INLINE {
        const Vector<T> d = Stream(p + i, lanes, f.shift) - f.shift;
        f.sum += d;
        f.square += d * d;
      };
      const auto begin = [&](int64_t j) INLINE { return Column{shift[j], sum[j], square[j]}; };
      const auto end = [&](int64_t j, const Column& f) INLINE {
        sum.Set(j, f.sum);
        square.Set(j, f.square);
      };
      sum.Clear();
      shift.Repeat([p](int64_t c) { return p[c]; });
      Sweep<T>(s, leading, begin, step, end);
      const double leading_share = 1.0 / leading, share = 1.0 / block.pixels;
      shift.Repeat([&](int64_t c) { return static_cast<T>(p[c] + sum.Sum(c) * leading_share); });
      sum.Clear();
      square.Clear();
      Sweep<T>(s, block.pixels, begin, step, end);
      for (int64_t c = 0; c < s.channels; ++c) {
        const double total = sum.Sum(c);
        mean[c] = shift.Value(c) + total * share;
        squares[c] = std::max(square.Sum(c) - total * total * share, 0.0);
      }
    };
  };
  // Chan's update of the mean and the variance.
  const auto add = [](double& mean, double& variance, double block_mean, double block_squares,
                      int64_t before, int64_t pixels) INLINE {
    const double count = before + pixels, share = pixels / count, delta = block_mean - mean;
    mean += delta * share;
    variance = (variance + delta * delta * share) * (before / count) + block_squares / count;
  };
  const double initial = s.pixels > 0 ? 0.0 : std::numeric_limits<double>::quiet_NaN();
  Reduce<T>(s, parallel, initial, make_work, add, mean, variance);
}

template <typename T>
void Apply(const Layout& s, const Parallel& parallel, const T* x, const AffineMaps<T>& maps, bool relu, T* y) {
  using Map = AffineMap<T>;
  ForEachBlock(s, parallel, [&] {
    return [=, &s, map = Map(maps, s, relu)](const Block& block) mutable {
      map.Select(block.instance);
      const auto begin = [&](int64_t j) INLINE { return map[j]; };
      const auto step = [=](const typename Map::Column& f, int64_t at, auto lanes) INLINE {
        const int64_t i = block.begin + at;
        Store(y + i, lanes, f.Forward(Stream(x + i, lanes, f.mean) - f.mean));
      };
      Sweep<T>(s, block.pixels, begin, step, [](auto...) {});
    };
  });
}

template <typename T>
void ApplyGradientSums(const Layout& s, const Parallel& parallel, const T* dy, const T* x, const AffineMaps<T>& maps,
                       bool relu, T* dscale, T* doffset) {
  using Map = AffineMap<T>;
  struct Column : Map::Column {
    Vector<T> dscale, doffset;
  };
  const auto make_work = [&] {
    return [=, &s, map = Map(maps, s, relu), row_dscale = Row<T>(s),
            row_doffset = Row<T>(s)](const Block& block, double* dscale, double* doffset) mutable {
      map.Select(block.instance);
      row_dscale.Clear();
      row_doffset.Clear();
      const auto begin = [&](int64_t j) INLINE { return Column{map[j], row_dscale[j], row_doffset[j]}; };
      const auto step = [=, begin = block.begin](Column& f, int64_t at, auto lanes) INLINE {
        const Vector<T> d = Stream(x + begin + at, lanes, f.mean) - f.mean;
        const Vector<T> g = f.Gradient(Stream(dy + begin + at, lanes, Vector<T>{}), d);
        f.dscale += g * d;
        f.doffset += g;
      };
      const auto end = [&](int64_t j, const Column& f) INLINE {
        row_dscale.Set(j, f.dscale);
        row_doffset.Set(j, f.doffset);
      };
      Sweep<T>(s, block.pixels, begin, step, end);
      for (int64_t c = 0; c < s.channels; ++c) {
        dscale[c] = row_dscale.Sum(c);
        doffset[c] = row_doffset.Sum(c);
      }
    };
  };
  const auto add = [](double& dscale, double& doffset, double block_dscale, double block_doffset, int64_t,
                      int64_t) {
    dscale += block_dscale;
    doffset += block_doffset;
  };
  Reduce<T>(s, parallel, 0.0, make_work, add, dscale, doffset);
}

template <typename T>
void ApplyGradientInput(const Layout& s, const Parallel& parallel, const T* dy, const T* x, const AffineMaps<T>& maps,
                        bool relu, const T* dmean, const T* dvariance, T* dx) {
  using Map = AffineMap<T>;
  struct Column : Map::Column {
    Vector<T> constant, slope;
  };
  ForEachBlock(s, parallel, [&] {
    return [=, &s, map = Map(maps, s, relu),
            constant = Coefficients<T>(dmean, s, 1.0 / s.pixels),
            slope = Coefficients<T>(dvariance, s, 2.0 / s.pixels)](const Block& block) mutable {
      map.Select(block.instance);
      constant.Select(block.instance);
      slope.Select(block.instance);
      const auto begin = [&](int64_t j) INLINE { return Column{map[j], constant[j], slope[j]}; };
      const auto step = [=, begin = block.begin](const Column& f, int64_t at, auto lanes) INLINE {
        const int64_t i = begin + at;
        const Vector<T> d = Stream(x + i, lanes, f.mean) - f.mean;
        const Vector<T> g = f.Gradient(Stream(dy + i, lanes, Vector<T>{}), d);
        Store(dx + i, lanes, f.scale * g + (f.slope * d + f.constant));
      };
      Sweep<T>(s, block.pixels, begin, step, [](auto...) {});
    };
  });
}

#define ILN_STREAMING(External, T)                                                                              \
  External template void Moments(const Layout&, const Parallel&, const T*, T*, T*);                             \
  External template void Apply(const Layout&, const Parallel&, const T*, const AffineMaps<T>&, bool, T*);       \
  External template void ApplyGradientSums(const Layout&, const Parallel&, const T*, const T*,                  \
                                           const AffineMaps<T>&, bool, T*, T*);                                 \
  External template void ApplyGradientInput(const Layout&, const Parallel&, const T*, const T*,                 \
                                            const AffineMaps<T>&, bool, const T*, const T*, T*);
ILN_FOR_TYPES(ILN_STREAMING)

}  // namespace iln

#endif  // ILNREPRO_STREAMING_H_
