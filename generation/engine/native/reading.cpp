// How fast memory can be read here, as the products of forward.cpp read it: what their speed is measured against.

#include "arithmetic.h"

// The sum of `count` numbers, by so many threads; what it takes is the time to read them.
extern "C" float read_all(const float *numbers, int64_t count, int64_t threads) {
    constexpr int64_t AT_ONCE = 4 * LANES, AHEAD = 4096;
    float total = 0;
#pragma omp parallel for num_threads((int)threads) schedule(static) reduction(+ : total)
    for (int64_t start = 0; start < count; start += AHEAD) {
        vec sums[4] = {vec{}, vec{}, vec{}, vec{}};
        int64_t i = start, stop = start + AHEAD < count ? start + AHEAD : count;
        for (; i + AT_ONCE <= stop; i += AT_ONCE)
            for (int j = 0; j < 4; j++) {
                sums[j] += load(numbers + i + j * LANES);
                __builtin_prefetch(numbers + AHEAD + i + j * LANES, 0, 2);
            }
        for (; i < stop; i += LANES) sums[0] += load_some(numbers + i, stop - i);
        total += sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
    }
    return total;
}
