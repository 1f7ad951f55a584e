// The arithmetic of convolutions: feature maps [N, D, H, W, C], filters [taps of D, of H, of W, C, K].
//
// What is convolved may be several sources, whose channels follow one another, each through the affine maps of its
// normalization; and what is written may be summed over pixels while the second cache still has it.
//
// Along each axis, outputs are taken in phases (one, or one for each remainder where pixels are dilated or
// doubled), so that what an output reads is a window of neighbours. A slab of the input is copied with its
// margin of zeros, a block of channels at a time; then a few pixels by a few vectors of output channels are
// summed in registers. Every sum runs in an order that depends on the shapes alone, so the bits of a result do
// not depend on the number of threads.

#ifndef ILNREPRO_CONVOLUTION_H_
#define ILNREPRO_CONVOLUTION_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "maps.h"
#include "parallel.h"
#include "products.h"

namespace iln {

constexpr int64_t kInputs = 32;                // channels in a block of the input, at least
constexpr int64_t kRows = 288;                 // of the weights of such a block: they fit the first cache
constexpr int64_t kSlabBytes = 256 << 10;      // of a copied slab, in the second cache
constexpr int64_t kRun = 128;                  // pixels over which a gradient is summed in registers
constexpr int64_t kPartialValues = 512 << 10;  // in all partial sums of a gradient, roughly
constexpr int64_t kPartialPixels = 64;         // in one of them at least: fewer take less time than adding it up
constexpr int64_t kItems = 32;                 // pieces of work to share among threads, if that can be

// One axis of one phase. Output o, which lies at out_first + o * out_step, reads the window of `count`
// neighbours from `step` * o on, its j-th by the tap tap_first + j * tap_step; the i-th neighbour lies at
// in_first + (i - before) * in_step of the input, and is zero outside it.
struct Phase {
  int64_t outputs, out_first, out_step;
  int64_t inputs, in_first, in_step, before, step;
  int64_t count, tap_first, tap_step;
  int64_t weights;  // which of the phases that differ in their taps

  int64_t Neighbours(int64_t n) const { return step * (n - 1) + count; }
  int64_t Tap(int64_t j) const { return tap_first + j * tap_step; }
};

inline int64_t CeilOfRatio(int64_t a, int64_t b) { return (a + b - 1) / b; }

// One axis: its sizes, the taps of the filters, and its phases.
struct Axis {
  int64_t in, out, taps;
  std::vector<Phase> phases;

  // A "SAME" convolution of `stride` or `dilation`, one of them 1, of `size` inputs that the stride divides; or,
  // where `flipped`, its transpose from size / stride to size.
  static Axis Make(int64_t size, int64_t taps, int64_t stride, int64_t dilation, bool flipped) {
    const int64_t before = std::max<int64_t>(taps - stride, 0) / 2, few = size / stride;
    Axis axis{size, few, taps, {}};
    if (flipped) std::swap(axis.in, axis.out);
    if (flipped && stride > 1) {
      for (int64_t f = 0; f < stride; ++f) {  // output stride * q + f reads q + first - count + 1 to q + first
        const int64_t tap = (f + before) % stride, first = (f + before) / stride;
        const int64_t count = CeilOfRatio(taps - tap, stride);
        axis.phases.push_back({few, f, stride, few, 0, 1, count - 1 - first, 1, count,
                               tap + stride * (count - 1), -stride, f});
      }
      return axis;
    }
    for (int64_t f = 0; f < std::min(dilation, few); ++f) {
      const int64_t n = CeilOfRatio(few - f, dilation);
      Phase phase{n, f, dilation, CeilOfRatio(size - f, dilation), f, dilation, before, stride, taps, 0, 1, 0};
      if (flipped) phase.before = taps - 1 - before, phase.tap_first = taps - 1, phase.tap_step = -1;
      axis.phases.push_back(phase);
    }
    return axis;
  }
};

// A convolution: its axes, and how its filters lie in memory.
struct Geometry {
  int64_t instances;
  std::array<Axis, 3> axes;  // depth, height, width
  int64_t inputs, outputs;   // channels
  int64_t tap_stride, input_stride, output_stride;  // of a filter's taps and channels in memory

  int64_t taps() const { return axes[0].taps * axes[1].taps * axes[2].taps; }
  int64_t values() const { return taps() * inputs * outputs; }
};

// `size` values in pieces of at most `limit`, as even as can be; the i-th begins at Begin(i).
struct Split {
  int64_t size, pieces;
  Split(int64_t size, int64_t limit) : size(size), pieces(CeilOfRatio(size, limit)) {}
  int64_t Begin(int64_t i) const { return i * size / pieces; }
  int64_t Count(int64_t i) const { return Begin(i + 1) - Begin(i); }
};

// ---- Pieces

// Channels in a block of the input where each has so many taps: of few taps more, or sums would be read and written for
// little.
inline int64_t InputBlock(int64_t taps) { return std::max<int64_t>(kRows / taps / 8 * 8, kInputs); }

// The channels of the output by whole blocks of registers, the last one perhaps narrower.
template <typename T>
struct OutputBlock {
  static constexpr int64_t kChannels = kWidth * kLanes<T>;
  int64_t begin, channels, width, padded;

  OutputBlock(int64_t index, int64_t outputs)
      : begin(index * kChannels), channels(std::min(kChannels, outputs - begin)),
        width(CeilOfRatio(channels, kLanes<T>)), padded(width * kLanes<T>) {}
  static int64_t Number(int64_t outputs) { return CeilOfRatio(outputs, kChannels); }
  static int64_t Padded(int64_t outputs) { return CeilOfRatio(outputs, kLanes<T>) * kLanes<T>; }
};

// Some rows of one phase of one instance at one depth, see Unit.
template <typename T>
struct Unit {
  const Phase *depth, *height, *width;
  int64_t instance, d, row, rows;  // d and row: numbers of outputs within their phases

  int64_t windows() const { return depth->count * height->count; }
  int64_t taps() const { return windows() * width->count; }
  int64_t slab_width() const { return width->Neighbours(width->outputs); }
  int64_t slab_rows() const { return height->Neighbours(rows); }
  int64_t slab_pixels() const { return depth->count * slab_rows() * slab_width(); }
  // The output's pixel at the beginning of the unit's r-th row.
  int64_t OutputPixel(const Geometry& g, int64_t r) const {
    const int64_t z = depth->out_first + d * depth->out_step;
    const int64_t y = height->out_first + (row + r) * height->out_step;
    return ((instance * g.axes[0].out + z) * g.axes[1].out + y) * g.axes[2].out + width->out_first;
  }
  // Copies channels of the input, the neighbours of this unit's outputs: [depths][rows][width][channels], through its
  // maps if it has some.
  void CopySlab(const Geometry& g, const T* x, const AffineMaps<T>& maps, int64_t begin, int64_t channels,
                T* slab) const {
    const int64_t all = slab_width(), before = std::min(width->before, all);
    const int64_t inside = std::min(all - before, width->inputs);
    for (int64_t i = 0; i < depth->count; ++i) {
      const int64_t z = d * depth->step + i - depth->before;
      for (int64_t j = 0; j < slab_rows(); ++j, slab += all * channels) {
        const int64_t y = row * height->step + j - height->before;
        if (z < 0 || z >= depth->inputs || y < 0 || y >= height->inputs) {
          std::fill_n(slab, all * channels, T(0));
          continue;
        }
        const int64_t line = (instance * g.axes[0].in + depth->in_first + z * depth->in_step) * g.axes[1].in +
                             height->in_first + y * height->in_step;
        const T* from = x + (line * g.axes[2].in + width->in_first) * g.inputs + begin;
        T* to = std::fill_n(slab, before * channels, T(0));
        if (channels == g.inputs && width->in_step == 1) {
          to = std::copy_n(from, inside * channels, to);
        } else {
          for (int64_t k = 0; k < inside; ++k, from += width->in_step * g.inputs) {
            to = std::copy_n(from, channels, to);
          }
        }
        if (maps.mean) ApplyMaps(maps, instance * g.inputs + begin, to - inside * channels, inside, channels, channels);
        std::fill_n(to, (all - before - inside) * channels, T(0));
      }
    }
  }
  // Where the unit's outputs read their first window in the slab, and where they lie in the output.
  void Pixels(const Geometry& g, int64_t channels, int64_t* x_at, int64_t* y_at) const {
    const int64_t x_step = width->step * channels, y_step = width->out_step * g.outputs;
    for (int64_t r = 0; r < rows; ++r, x_at += width->outputs, y_at += width->outputs) {
      const int64_t x = r * height->step * slab_width() * channels, y = OutputPixel(g, r) * g.outputs;
      for (int64_t i = 0; i < width->outputs; ++i) x_at[i] = x + i * x_step;
      for (int64_t i = 0; i < width->outputs; ++i) y_at[i] = y + i * y_step;
    }
  }
  // Where the windows over depth and height begin in the slab for the unit's r-th row.
  void Windows(int64_t r, int64_t channels, int64_t* windows) const {
    for (int64_t i = 0; i < depth->count; ++i) {
      for (int64_t j = 0; j < height->count; ++j) {
        *windows++ = (i * slab_rows() + r * height->step + j) * slab_width() * channels;
      }
    }
  }
};

template <typename T>
std::vector<Unit<T>> Units(const Geometry& g) {
  std::vector<Unit<T>> units;
  const int64_t all_rows = g.instances * g.axes[0].out * g.axes[1].out;
  for (int64_t n = 0; n < g.instances; ++n) {
    for (const Phase& depth : g.axes[0].phases) {
      for (int64_t d = 0; d < depth.outputs; ++d) {
        for (const Phase& height : g.axes[1].phases) {
          for (const Phase& width : g.axes[2].phases) {
            const int64_t channels = std::min(g.inputs, InputBlock(depth.count * height.count * width.count));
            const int64_t values = depth.count * height.step * width.Neighbours(width.outputs) * channels;
            const int64_t fit = kSlabBytes / std::max<int64_t>(values * sizeof(T), 1) - 2;
            const int64_t most = std::clamp<int64_t>(fit, 4, std::max<int64_t>(all_rows / kItems, 8));
            const Split rows(height.outputs, most);
            for (int64_t i = 0; i < rows.pieces; ++i) {
              units.push_back({&depth, &height, &width, n, d, rows.Begin(i), rows.Count(i)});
            }
          }
        }
      }
    }
  }
  return units;
}

// ---- Passes

// Where filters lie as Convolve reads them, for each set of phases that differ in their taps:
// [output block][input block][taps of depth, height, width][the input block's channels][the output block's].
struct PackedFilters {
  explicit PackedFilters(const Geometry& g, int64_t padded_outputs) {
    for (const Phase& depth : g.axes[0].phases) {
      for (const Phase& height : g.axes[1].phases) {
        for (const Phase& width : g.axes[2].phases) {
          const size_t index = Index(g, depth, height, width);
          if (index < begins.size()) continue;
          begins.push_back(size);
          phases.push_back({&depth, &height, &width});
          size += depth.count * height.count * width.count * g.inputs * padded_outputs;
        }
      }
    }
  }
  static size_t Index(const Geometry& g, const Phase& depth, const Phase& height, const Phase& width) {
    const int64_t heights = g.axes[1].phases.back().weights + 1, widths = g.axes[2].phases.back().weights + 1;
    return (depth.weights * heights + height.weights) * widths + width.weights;
  }

  int64_t size = 0;
  std::vector<int64_t> begins;
  std::vector<std::array<const Phase*, 3>> phases;
};

// Calls visit(row, position in the filters) for every row of an input block as PackedFilters has it.
template <typename Visit>
void ForEachTap(const Geometry& g, const std::array<const Phase*, 3>& p, int64_t begin, int64_t channels,
                Visit visit) {
  int64_t row = 0;
  for (int64_t i = 0; i < p[0]->count; ++i) {
    for (int64_t j = 0; j < p[1]->count; ++j) {
      for (int64_t k = 0; k < p[2]->count; ++k) {
        const int64_t z = p[0]->Tap(i), y = p[1]->Tap(j), x = p[2]->Tap(k);
        const int64_t tap = (z * g.axes[1].taps + y) * g.axes[2].taps + x;
        for (int64_t c = 0; c < channels; ++c) {
          visit(row++, tap * g.tap_stride + (begin + c) * g.input_stride);
        }
      }
    }
  }
}

template <typename T>
void Pack(const Geometry& g, const PackedFilters& packed, const T* filters, T* to, const Parallel& parallel) {
  using Block = OutputBlock<T>;
  const int64_t blocks = Block::Number(g.outputs);
  parallel(blocks, 2 * g.values() / blocks, [&](int64_t first, int64_t limit) {
    for (int64_t b = first; b < limit; ++b) {
      const Block block(b, g.outputs);
      for (size_t set = 0; set < packed.begins.size(); ++set) {
        const auto& p = packed.phases[set];
        const int64_t taps = p[0]->count * p[1]->count * p[2]->count;
        const Split inputs(g.inputs, InputBlock(taps));
        for (int64_t i = 0; i < inputs.pieces; ++i) {
          T* piece = to + packed.begins[set] + taps * (block.begin * g.inputs + inputs.Begin(i) * block.padded);
          ForEachTap(g, p, inputs.Begin(i), inputs.Count(i), [&](int64_t row, int64_t at) {
            const T* from = filters + at + block.begin * g.output_stride;
            T* values = piece + row * block.padded;
            for (int64_t k = 0; k < block.channels; ++k) values[k] = from[k * g.output_stride];
            std::fill(values + block.channels, values + block.padded, T(0));
          });
        }
      }
    }
  });
}

// One of the feature maps that are convolved together, whose channels follow one another.
template <typename T>
struct Source {
  Geometry geometry;
  PackedFilters layout;
  const T *x, *filters;  // filters as `layout` has them
  AffineMaps<T> maps;
};

// Convolves the sources into y, and calls finish(unit, its number) when the outputs of a unit are written.
template <typename T, typename Finish>
void ConvolveAnd(const std::vector<Source<T>>& sources, const std::vector<Unit<T>>& units, T* y,
              const Parallel& parallel, const Finish& finish) {
  using Block = OutputBlock<T>;
  int64_t slab_values = 0, windows = 0, values = 0, most = 0;
  for (const Source<T>& source : sources) {
    values += source.geometry.values();
    for (const Unit<T>& unit : units) {
      const int64_t channels = std::min(source.geometry.inputs, InputBlock(unit.taps()));
      slab_values = std::max(slab_values, unit.slab_pixels() * channels);
      windows = std::max(windows, unit.windows());
      most = std::max(most, unit.rows * unit.width->outputs);
    }
  }
  const int64_t pixels = units.empty() ? 0 : units[0].rows * units[0].width->outputs;
  parallel(units.size(), values * pixels / 8 + 1, [&](int64_t first, int64_t limit) {
    std::vector<T> slab(slab_values);
    std::vector<int64_t> starts(windows), x_at(most), y_at(most);
    for (int64_t u = first; u < limit; ++u) {
      const Unit<T>& unit = units[u];
      const int64_t taps = unit.taps();
      const Split tiles(unit.rows * unit.width->outputs, kHeight);
      bool add = false;
      for (const Source<T>& source : sources) {
        const Geometry& g = source.geometry;
        const Split inputs(g.inputs, InputBlock(taps));
        const size_t set = PackedFilters::Index(g, *unit.depth, *unit.height, *unit.width);
        const T* own = source.filters + source.layout.begins[set];
        for (int64_t i = 0; i < inputs.pieces; ++i, add = true) {
          const int64_t channels = inputs.Count(i);
          unit.CopySlab(g, source.x, source.maps, inputs.Begin(i), channels, slab.data());
          unit.Windows(0, channels, starts.data());
          unit.Pixels(g, channels, x_at.data(), y_at.data());
          for (int64_t b = 0; b < Block::Number(g.outputs); ++b) {
            const Block block(b, g.outputs);
            const T* weights = own + taps * (block.begin * g.inputs + inputs.Begin(i) * block.padded);
            for (int64_t t = 0; t < tiles.pieces; ++t) {
              kProducts<T>.forward[block.width - 1][tiles.Count(t) - 1](
                  slab.data(), x_at.data() + tiles.Begin(t), starts.data(), unit.windows(),
                  unit.width->count * channels, weights, y + block.begin, y_at.data() + tiles.Begin(t),
                  block.channels, add);
            }
          }
        }
      }
      finish(unit, u);
    }
  });
}

// Two sums a channel of what a convolution writes, unit by unit, and of whole instances in the units' order.
template <typename T>
class UnitSums {
 public:
  UnitSums(const Geometry& g, const std::vector<Unit<T>>& units)
      : g_(g), units_(units), sums_(2 * g.outputs * units.size()) {}

  // Calls row(first value in the output, pixels, step, pixels before, two sums) for the rows of a unit.
  template <typename Row>
  void Sum(const Unit<T>& unit, int64_t number, const Row& row) {
    double* sums = sums_.data() + 2 * g_.outputs * number;
    const int64_t pixels = unit.width->outputs;
    for (int64_t r = 0; r < unit.rows; ++r) {
      row(unit.OutputPixel(g_, r) * g_.outputs, pixels, unit.width->out_step * g_.outputs, r * pixels, sums,
          sums + g_.outputs);
    }
  }
  // Calls add(instance, channel, two sums of a unit, pixels of the instance before, its own pixels) for all.
  template <typename Add>
  void Merge(const Add& add) const {
    int64_t instance = -1, before = 0;
    for (size_t u = 0; u < units_.size(); ++u) {
      const Unit<T>& unit = units_[u];
      if (unit.instance != instance) instance = unit.instance, before = 0;
      const double* sums = sums_.data() + 2 * g_.outputs * u;
      const int64_t pixels = unit.rows * unit.width->outputs;
      for (int64_t c = 0; c < g_.outputs; ++c) add(instance, c, sums[c], sums[g_.outputs + c], before, pixels);
      before += pixels;
    }
  }

 private:
  const Geometry& g_;
  const std::vector<Unit<T>>& units_;
  std::vector<double> sums_;
};

// Convolves the sources into y.
template <typename T>
void Convolve(const std::vector<Source<T>>& sources, const Parallel& parallel, T* y) {
  ConvolveAnd(sources, Units<T>(sources[0].geometry), y, parallel, [](auto...) {});
}

// The same, and sums the moments of y, [N, K].
template <typename T>
void ConvolveWithMoments(const std::vector<Source<T>>& sources, const Parallel& parallel, T* y, T* mean, T* variance) {
  const Geometry& g = sources[0].geometry;
  const std::vector<Unit<T>> units = Units<T>(g);
  UnitSums<T> sums(g, units);
  ConvolveAnd(sources, units, y, parallel, [&](const Unit<T>& unit, int64_t number) {
    sums.Sum(unit, number, [&](int64_t at, int64_t pixels, int64_t step, int64_t before, double* m, double* squares) {
      AddMoments(y + at, pixels, step, g.outputs, before, m, squares);
    });
  });
  std::vector<double> means(g.instances * g.outputs), variances(g.instances * g.outputs);
  sums.Merge([&](int64_t instance, int64_t channel, double unit_mean, double unit_squares, int64_t before,
                 int64_t pixels) {
    double &m = means[instance * g.outputs + channel], &v = variances[instance * g.outputs + channel];
    const double count = before + pixels, share = pixels / count, delta = unit_mean - m;
    m += delta * share;
    v = (v + delta * delta * share) * (before / count) + unit_squares / count;
  });
  std::copy(means.begin(), means.end(), mean);
  std::copy(variances.begin(), variances.end(), variance);
}

// The same for a gradient dx by what stands for relu(scale * (x - mean) + offset), and sums those by scale and offset.
template <typename T>
void ConvolveWithGradientSums(const std::vector<Source<T>>& sources, const Parallel& parallel, const T* x,
                              const AffineMaps<T>& maps, T* dx, T* dscale, T* doffset) {
  const Geometry& g = sources[0].geometry;
  const std::vector<Unit<T>> units = Units<T>(g);
  UnitSums<T> sums(g, units);
  ConvolveAnd(sources, units, dx, parallel, [&](const Unit<T>& unit, int64_t number) {
    sums.Sum(unit, number, [&](int64_t at, int64_t pixels, int64_t step, int64_t, double* first, double* second) {
      AddGradientSums(maps, unit.instance * g.outputs, dx + at, x + at, pixels, step, g.outputs, first, second);
    });
  });
  std::vector<double> dscales(g.instances * g.outputs), doffsets(g.instances * g.outputs);
  sums.Merge([&](int64_t instance, int64_t channel, double first, double second, auto...) {
    dscales[instance * g.outputs + channel] += first;
    doffsets[instance * g.outputs + channel] += second;
  });
  std::copy(dscales.begin(), dscales.end(), dscale);
  std::copy(doffsets.begin(), doffsets.end(), doffset);
}

// How a gradient of filters is summed: in parts, each over some units in a row, of the filters' own layout.
template <typename T>
struct PartialSums {
  std::vector<Unit<T>> units;
  Split inputs, parts;

  explicit PartialSums(const Geometry& g) : units(Units<T>(g)), inputs(g.inputs, kInputs), parts(0, 1) {
    const int64_t pixels = g.instances * g.axes[0].out * g.axes[1].out * g.axes[2].out;
    const int64_t wanted = std::min(CeilOfRatio(kItems, inputs.pieces), CeilOfRatio(pixels, kPartialPixels));
    const int64_t most = std::max<int64_t>(kPartialValues / g.values(), 1);
    parts = Split(units.size(), CeilOfRatio(units.size(), std::min(wanted, most)));
  }
};

// Sums the gradient of each part: sums [parts][filters].
template <typename T>
void SumFilters(const Geometry& g, const PartialSums<T>& s, const T* x, const AffineMaps<T>& x_maps, const T* dy,
                const AffineMaps<T>& dy_maps, T* sums, const Parallel& parallel) {
  using Block = OutputBlock<T>;
  const std::array<const Phase*, 3> taps{&g.axes[0].phases[0], &g.axes[1].phases[0], &g.axes[2].phases[0]};
  int64_t slab_pixels = 0, windows = 0;
  for (const Unit<T>& unit : s.units) {
    slab_pixels = std::max(slab_pixels, unit.slab_pixels());
    windows = std::max(windows, unit.windows());
  }
  parallel(s.parts.pieces * s.inputs.pieces, 1 << 20, [&](int64_t first, int64_t limit) {
    std::vector<T> slab(slab_pixels * std::min(g.inputs, kInputs)), run(kRun * Block::kChannels);
    std::vector<int64_t> starts(windows), places(g.taps() * std::min(g.inputs, kInputs));
    for (int64_t item = first; item < limit; ++item) {
      const int64_t part = item / s.inputs.pieces, input = item % s.inputs.pieces;
      const int64_t channels = s.inputs.Count(input);
      ForEachTap(g, taps, s.inputs.Begin(input), channels, [&](int64_t row, int64_t at) { places[row] = at; });
      for (int64_t u = s.parts.Begin(part); u < s.parts.Begin(part + 1); ++u) {
        const Unit<T>& unit = s.units[u];
        const Phase& width = *unit.width;
        const int64_t step = width.step * channels, length = width.count * channels;
        const Split segments(width.outputs, kRun), heights(length, kHeight);
        const Split runs(unit.rows, std::max<int64_t>(kRun / segments.Count(0), 1));
        unit.CopySlab(g, x, x_maps, s.inputs.Begin(input), channels, slab.data());
        for (int64_t b = 0; b < Block::Number(g.outputs); ++b) {
          const Block block(b, g.outputs);
          T* block_sums = sums + part * g.values() + block.begin;
          for (int64_t i = 0; i < runs.pieces; ++i) {
            unit.Windows(runs.Begin(i), channels, starts.data());
            for (int64_t j = 0; j < segments.pieces; ++j) {
              const int64_t begin = segments.Begin(j), pixels = segments.Count(j);
              const bool add = u > s.parts.Begin(part) || i > 0 || j > 0;
              T* to = run.data();
              for (int64_t r = runs.Begin(i); r < runs.Begin(i + 1); ++r) {
                const T* from = dy + (unit.OutputPixel(g, r) + begin * width.out_step) * g.outputs + block.begin;
                for (int64_t k = 0; k < pixels; ++k, from += width.out_step * g.outputs, to += block.padded) {
                  std::copy_n(from, block.channels, to);
                }
              }
              if (dy_maps.mean) {
                ApplyMaps(dy_maps, unit.instance * g.outputs + block.begin, run.data(), pixels * runs.Count(i),
                          block.padded, block.channels);
              }
              for (int64_t w = 0; w < unit.windows(); ++w) {
                const T* p = slab.data() + starts[w] + begin * step;
                for (int64_t h = 0; h < heights.pieces; ++h) {
                  kProducts<T>.outer[block.width - 1][heights.Count(h) - 1](
                      p + heights.Begin(h), unit.height->step * unit.slab_width() * channels, step, run.data(),
                      pixels * block.padded, block.padded, runs.Count(i), pixels, block_sums,
                      places.data() + w * length + heights.Begin(h), block.channels, add);
                }
              }
            }
          }
        }
      }
    }
  });
}

// Adds the parts up in their order.
template <typename T>
void AddParts(const T* sums, int64_t parts, int64_t size, T* total, const Parallel& parallel) {
  constexpr int64_t kChunk = 1024;
  parallel(CeilOfRatio(size, kChunk), parts * kChunk, [&](int64_t first, int64_t limit) {
    for (int64_t chunk = first; chunk < limit; ++chunk) {
      const int64_t begin = chunk * kChunk, count = std::min(kChunk, size - begin);
      double totals[kChunk] = {};
      for (int64_t part = 0; part < parts; ++part) {
        const T* from = sums + part * size + begin;
        for (int64_t i = 0; i < count; ++i) totals[i] += from[i];
      }
      std::copy_n(totals, count, total + begin);
    }
  });
}

#define ILN_CONVOLUTION_PASSES(External, T)                                                                      \
  External template void Pack(const Geometry&, const PackedFilters&, const T*, T*, const Parallel&);             \
  External template void Convolve(const std::vector<Source<T>>&, const Parallel&, T*);                           \
  External template void ConvolveWithMoments(const std::vector<Source<T>>&, const Parallel&, T*, T*, T*);        \
  External template void ConvolveWithGradientSums(const std::vector<Source<T>>&, const Parallel&, const T*,      \
                                                  const AffineMaps<T>&, T*, T*, T*);                             \
  External template void SumFilters(const Geometry&, const PartialSums<T>&, const T*, const AffineMaps<T>&,      \
                                    const T*, const AffineMaps<T>&, T*, const Parallel&);                        \
  External template void AddParts(const T*, int64_t, int64_t, T*, const Parallel&);
ILN_FOR_TYPES(ILN_CONVOLUTION_PASSES)

}  // namespace iln

#endif  // ILNREPRO_CONVOLUTION_H_
