// Vectors of the widest registers that the compiler was told to use, of float or double.

#ifndef ILNREPRO_VECTORS_H_
#define ILNREPRO_VECTORS_H_

#include <cstring>
#include <type_traits>
#include <utility>

#define INLINE __attribute__((always_inline))

namespace iln {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif
template <typename T>
struct VectorOf {
  typedef T type __attribute__((vector_size(kVectorBytes)));
};
template <typename T>
using Vector = typename VectorOf<T>::type;
template <typename T>
constexpr int kLanes = kVectorBytes / sizeof(T);
template <int n>
using Constant = std::integral_constant<int, n>;

// The vector at p, of which `lanes` values exist; the others are those of `padding`.
template <typename T, typename Lanes>
INLINE inline Vector<T> Load(const T* p, Lanes lanes, Vector<T> padding) {
  if (lanes == kLanes<T>) {
    std::memcpy(&padding, p, sizeof(padding));
  } else {
    for (int i = 0; i < lanes; ++i) padding[i] = p[i];
  }
  return padding;
}

template <typename T, typename Lanes>
INLINE inline void Store(T* p, Lanes lanes, Vector<T> value) {
  if (lanes == kLanes<T>) {
    std::memcpy(p, &value, sizeof(value));
  } else {
    for (int i = 0; i < lanes; ++i) p[i] = value[i];
  }
}

template <int... i, typename F>
INLINE inline void Unroll(std::integer_sequence<int, i...>, F f) {
  (f(Constant<i>()), ...);
}

}  // namespace iln

#endif  // ILNREPRO_VECTORS_H_
