// Sums of products over weights of any format, sixteen at a time, in float32.
//
// Every sum runs over k in the same order, whatever is computed beside it. So a token's numbers are the same to the
// last bit whether it is read alone, in a batch, or in the middle of a prompt.

#pragma once

#include <cstdint>
#include <cstring>
#ifdef __AVX512F__
#include <immintrin.h>
#define IN_REGISTER(value) asm("" : "+v"(value))  // else GCC loads it from memory again for each use
#else
#define IN_REGISTER(value)
#endif

typedef float vec __attribute__((vector_size(64)));
typedef float vec8 __attribute__((vector_size(32)));
typedef float vec4 __attribute__((vector_size(16)));
typedef int32_t ivec __attribute__((vector_size(64)));
typedef uint32_t uvec __attribute__((vector_size(64)));
constexpr int64_t LANES = 16;

struct bf16 {
    uint16_t bits;
};

// The same, wherever they stand in memory.
typedef float vec_in_memory __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint16_t shorts_in_memory __attribute__((vector_size(32), aligned(2), may_alias));
typedef int8_t bytes_in_memory __attribute__((vector_size(16), aligned(1), may_alias));

static inline vec load(const float *from) { return *(const vec_in_memory *)from; }
static inline vec load(const bf16 *from) {
    return (vec)(__builtin_convertvector(*(const shorts_in_memory *)from, uvec) << 16);
}
static inline vec load(const int8_t *from) {
#ifdef __AVX512F__  // compilers of today take the bytes apart one by one
    return (vec)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)from)));
#else
    return __builtin_convertvector(__builtin_convertvector(*(const bytes_in_memory *)from, ivec), vec);
#endif
}
// The `count` numbers at `from`, 16 at most, then zeros.
template <class T>
static inline vec load_some(const T *from, int64_t count) {
    if (count >= LANES) return load(from);
    T padded[LANES] = {};
    std::memcpy(padded, from, count * sizeof(T));
    return load(padded);
}

static inline void keep(float *to, vec value) { *(vec_in_memory *)to = value; }

static inline float widen(float value) { return value; }
static inline float widen(int8_t value) { return (float)value; }
static inline float widen(bf16 value) {
    uint32_t bits = (uint32_t)value.bits << 16;
    float out;
    std::memcpy(&out, &bits, sizeof(out));
    return out;
}

static inline void narrow(float value, float *to) { *to = value; }
static inline void narrow(float value, bf16 *to) {  // to nearest, ties to even; NaN stays NaN
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    to->bits = value != value ? 0x7fc0 : (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

static inline float sum(vec v) {
    vec8 a = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
             __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
    vec4 b = __builtin_shufflevector(a, a, 0, 1, 2, 3) + __builtin_shufflevector(a, a, 4, 5, 6, 7);
    return (b[0] + b[2]) + (b[1] + b[3]);
}

// out[r][b] = sum over k of w[r][k] * x[b][k]; fetches what lies `ahead` in w as well.
template <class W, int R, int B>
static inline void dots(const W *w, int64_t w_stride, int64_t ahead, const float *x, int64_t x_stride, int64_t K,
                        float out[4][4]) {
    vec acc[R][B];
#pragma GCC unroll 4
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int b = 0; b < B; b++) acc[r][b] = vec{};
    int64_t k = 0;
    for (; k + LANES <= K; k += LANES) {
        vec columns[B];
#pragma GCC unroll 4
        for (int b = 0; b < B; b++) {
            columns[b] = load(x + b * x_stride + k);
            IN_REGISTER(columns[b]);
        }
#pragma GCC unroll 4
        for (int r = 0; r < R; r++) {
            vec row = load(w + r * w_stride + k);
            IN_REGISTER(row);
            __builtin_prefetch(w + r * w_stride + ahead + k, 0, 2);
#pragma GCC unroll 4
            for (int b = 0; b < B; b++) acc[r][b] += row * columns[b];
        }
    }
    if (k < K) {
#pragma GCC unroll 4
        for (int r = 0; r < R; r++) {
            vec row = load_some(w + r * w_stride + k, K - k);
#pragma GCC unroll 4
            for (int b = 0; b < B; b++) acc[r][b] += row * load_some(x + b * x_stride + k, K - k);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int b = 0; b < B; b++) out[r][b] = sum(acc[r][b]);
}

// What becomes of the sum of row r and column b: sum * scale[r] + bias[r] goes to to[b * stride + r].
struct Target {
    float *to;
    int64_t stride;
    enum Mode { SET, ADD, MULTIPLY } mode;
    const float *scale, *bias;  // or null

    inline void take(int64_t r, int64_t b, float value) const {
        if (scale) value *= scale[r];
        if (bias) value += bias[r];
        float &place = to[b * stride + r];
        place = mode == SET ? value : mode == ADD ? place + value : place * value;
    }
};

// Rows from..to of w, times all N columns.
template <class W>
static void product(const W *w, int64_t w_stride, int64_t from, int64_t to, const float *x, int64_t x_stride, int64_t N,
                    int64_t K, const Target &target) {
    constexpr int64_t BLOCK = 32;  // columns that stay near while the rows pass by
    float out[4][4];
    for (int64_t block = 0; block < N; block += BLOCK) {
        int64_t stop = block + BLOCK < N ? block + BLOCK : N;
        for (int64_t r = from; r < to;) {
            int R = to - r >= 4 ? 4 : 1;
            for (int64_t b = block; b < stop;) {
                int B = stop - b >= 4 ? 4 : stop - b;
                const W *rows = w + r * w_stride;
                const float *columns = x + b * x_stride;
                // Rows two tiles on come into the second-level cache meanwhile: twice the bandwidth that hardware finds.
                int64_t ahead = r + 3 * R <= to ? 2 * R * w_stride : 0;
                if (R == 4 && B == 4) dots<W, 4, 4>(rows, w_stride, ahead, columns, x_stride, K, out);
                else if (R == 4 && B == 3) dots<W, 4, 3>(rows, w_stride, ahead, columns, x_stride, K, out);
                else if (R == 4 && B == 2) dots<W, 4, 2>(rows, w_stride, ahead, columns, x_stride, K, out);
                else if (R == 4) dots<W, 4, 1>(rows, w_stride, ahead, columns, x_stride, K, out);
                else if (B == 4) dots<W, 1, 4>(rows, w_stride, ahead, columns, x_stride, K, out);
                else dots<W, 1, 1>(rows, w_stride, ahead, columns, x_stride, K, out), B = 1;
                for (int i = 0; i < R; i++)
                    for (int j = 0; j < B; j++) target.take(r + i, b + j, out[i][j]);
                b += B;
            }
            r += R;
        }
    }
}

// e^x to about 1e-7 of itself: 2^n times a polynomial (Cephes, expf). Below -87 it is 0, or nearly so.
static inline vec exp(vec x) {
    x = x < -87.0f ? vec{} - 87.0f : x;
    x = x > 88.0f ? vec{} + 88.0f : x;
    vec scaled = x * 1.44269504088896341f;
    ivec n = __builtin_convertvector(scaled + (scaled < 0.0f ? vec{} - 0.5f : vec{} + 0.5f), ivec);
    vec whole = __builtin_convertvector(n, vec);
    vec r = x - whole * 0.693359375f + whole * 2.12194440e-4f;
    vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return p * (vec)((n + 127) << 23);
}

// Back to memory, the first `count` of them.
static inline void keep_some(float *to, vec value, int64_t count) {
    std::memcpy(to, &value, (count < LANES ? count : LANES) * sizeof(float));
}
