// What separates the arithmetic from TensorFlow, whose headers take long to read: threads, as a function; and the types
// for which the arithmetic is compiled, each in a unit of its own (arithmetic.cc).

#ifndef ILNREPRO_PARALLEL_H_
#define ILNREPRO_PARALLEL_H_

#include <cstdint>
#include <functional>

namespace iln {

// parallel(items, cycles of one, work(first, limit)) calls work for all items, on several threads.
using Parallel = std::function<void(int64_t, int64_t, const std::function<void(int64_t, int64_t)>&)>;

}  // namespace iln

// Applies a macro (External, T) that instantiates templates: in the unit of a type to it, elsewhere to all as external.
#ifdef ILN_TYPE
#define ILN_FOR_TYPES(Instantiate) Instantiate(, ILN_TYPE)
#else
#define ILN_FOR_TYPES(Instantiate) Instantiate(extern, float) Instantiate(extern, double)
#endif

#endif  // ILNREPRO_PARALLEL_H_
