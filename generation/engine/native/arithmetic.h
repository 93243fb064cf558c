// Sums of products over weights of any format, as many at a time as a register holds, in float32.
//
// Every sum runs over k in the same order, whatever is computed beside it. So a token's numbers are the same to the
// last bit whether it is read alone, in a batch, or in the middle of a prompt.

#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#ifdef __AVX2__
#include <immintrin.h>
#endif

// Numbers in a register, and how many columns of sums fit the registers at once, four rows high. IN_REGISTER keeps a
// number there that GCC would load from memory again for each use.
#if defined(__AVX512F__)
#define LANES 16
#define IN_REGISTER(value) asm("" : "+v"(value))
constexpr int COLUMNS = 4;
#elif defined(__AVX2__) && defined(__FMA__)
#define LANES 8
#define IN_REGISTER(value) asm("" : "+x"(value))
constexpr int COLUMNS = 2;
#else
#define LANES 4
#define IN_REGISTER(value)
constexpr int COLUMNS = 4;
#endif
constexpr int ROWS = 4;

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef uint32_t uvec __attribute__((vector_size(4 * LANES)));
typedef float vec8 __attribute__((vector_size(32)));
typedef float vec4 __attribute__((vector_size(16)));
// The same, wherever they stand in memory.
typedef float vec_in_memory __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint16_t shorts_in_memory __attribute__((vector_size(2 * LANES), aligned(2), may_alias));
typedef int8_t bytes_in_memory __attribute__((vector_size(LANES), aligned(1), may_alias));

struct bf16 {
    uint16_t bits;
};

static inline vec load(const float *from) { return *(const vec_in_memory *)from; }
static inline vec load(const bf16 *from) {
    return (vec)(__builtin_convertvector(*(const shorts_in_memory *)from, uvec) << 16);
}
static inline vec load(const int8_t *from) {  // compilers of today take the bytes apart one by one
#if LANES == 16
    return (vec)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)from)));
#elif LANES == 8
    return (vec)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)from)));
#else
    return __builtin_convertvector(__builtin_convertvector(*(const bytes_in_memory *)from, ivec), vec);
#endif
}

// The `count` numbers at `from`, as many as go into a register at most, then zeros.
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

// The two halves of v, added. Compilers keep them in registers; GCC has no __builtin_shufflevector before 12.
template <class half, class whole>
static inline half folded(whole v) {
    half halves[2];
    std::memcpy(halves, &v, sizeof(v));
    return halves[0] + halves[1];
}

static inline float sum(vec v) {
#if LANES == 16
    vec8 a = folded<vec8>(v);
#else
    vec a = v;
#endif
#if LANES >= 8
    vec4 b = folded<vec4>(a);
#else
    vec4 b = a;
#endif
    return (b[0] + b[2]) + (b[1] + b[3]);
}

// out[r][b] = sum over k of w[r][k] * x[b][k]; fetches what lies `ahead` in w as well.
template <class W, int R, int B>
static inline void dots(const W *w, int64_t w_stride, int64_t ahead, const float *x, int64_t x_stride, int64_t K,
                        float out[ROWS][COLUMNS]) {
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

template <int N>
using Whole = std::integral_constant<int, N>;

// Rows from..to of w, times all N columns.
template <class W>
static void product(const W *w, int64_t w_stride, int64_t from, int64_t to, const float *x, int64_t x_stride, int64_t N,
                    int64_t K, const Target &target) {
    constexpr int64_t BLOCK = 32;  // columns that stay near while the rows pass by
    float out[ROWS][COLUMNS];
    for (int64_t block = 0; block < N; block += BLOCK) {
        int64_t stop = block + BLOCK < N ? block + BLOCK : N;
        for (int64_t r = from; r < to;) {
            int R = to - r >= ROWS ? ROWS : 1;
            for (int64_t b = block; b < stop;) {
                int B = stop - b >= COLUMNS ? COLUMNS : R == 1 ? 1 : stop - b;
                const W *rows = w + r * w_stride;
                const float *columns = x + b * x_stride;
                // Rows two tiles on come into the second-level cache meanwhile: twice the bandwidth that hardware finds.
                int64_t ahead = r + 3 * R <= to ? 2 * R * w_stride : 0;
                auto tile = [&](auto height, auto width) {
                    dots<W, height, width>(rows, w_stride, ahead, columns, x_stride, K, out);
                };
                if (R == 1 && B == 1) tile(Whole<1>(), Whole<1>());
                else if (R == 1) tile(Whole<1>(), Whole<COLUMNS>());
                else if (B == COLUMNS) tile(Whole<ROWS>(), Whole<COLUMNS>());
                else if (B == 1) tile(Whole<ROWS>(), Whole<1>());
                else if (B == 2) tile(Whole<ROWS>(), Whole<COLUMNS / 2>());
                else tile(Whole<ROWS>(), Whole<COLUMNS - 1>());
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
