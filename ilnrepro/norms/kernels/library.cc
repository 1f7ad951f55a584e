// The unit of TensorFlow's operations: one, since TensorFlow's headers take longer to read than all of them to compile.

#include "convolution.cc"
#include "pooling.cc"
#include "streaming.cc"
