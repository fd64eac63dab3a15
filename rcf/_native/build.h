/* All code that is compiled once per instruction set, in the order of dependency. Included by isa.h. */

#include "simd.h"
#include "numbers.h"
#include "boxes.h"
#include "paths.h"
#include "descend.h"
#include "climb.h"
#include "partition.h"
#include "sweep.h"

#undef RCF_LOCAL
#undef RCF_TOGETHER
#undef RCF_TOP_STRIDE
#undef RCF_ISA
#undef RCF_TARGET
#undef RCF_WIDTH
