// The unit of all arithmetic on values of the type ILN_TYPE, which the compiler's command defines as float or double.

#include "convolution.h"
#include "pooling.h"
#include "streaming.h"
