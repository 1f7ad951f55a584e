// What is compiled: one unit, for TensorFlow's headers take as long to read as all of this to compile.

#include "convolution.cc"
#include "native.cc"
#include "pooling.cc"
