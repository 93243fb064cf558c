// One pass of a decoder over tokens of several texts: what model/decoder.py computes, as one function.
//
// Axes: N tokens read now, M of which logits are wanted for, C width, H query heads, G key and value heads, D head,
// S tokens held, V vocabulary. Activations are float32 whatever the weights are. All threads run through all layers
// together; each `omp for` ends with all of them waiting for each other.

#include <algorithm>
#include <cmath>
#include <vector>

#include "arithmetic.h"

enum Type : int32_t { FLOAT32 = 0, BFLOAT16 = 1, INT8 = 2 };

// The same layout stands in native/library.py.
struct Matrix {  // (rows, columns), row by row
    const void *weight;
    const float *scale;  // (rows,) of int8 weights, or null
    const float *bias;   // (rows,) or null
    int64_t rows, columns, type;
};
struct Layer {
    Matrix query, key, value, output, gate, up, down;
    const float *attention_norm, *mlp_norm, *query_norm, *key_norm;  // the last two (D,) or null
};
struct Model {
    const Layer *layers;
    Matrix embedding, head;
    const float *norm, *cosines, *sines;  // (C,); (positions, D/2)
    int64_t depth, width, heads, groups, size, inner, vocabulary, threads;
    double epsilon;
};
struct Cache {  // (layers, slots, G, capacity, D)
    void *keys, *values;
    int64_t slots, capacity, type;
};
struct Tokens {
    const int64_t *ids, *slots, *positions;  // (N,)
    int64_t count;
    const int64_t *wanted;  // (M,) places among the tokens
    int64_t wanted_count;
};

static void normalise(const float *x, const float *weight, int64_t size, double epsilon, float *out) {
    vec squares{};
    for (int64_t i = 0; i < size; i += LANES) {
        vec part = load_some(x + i, size - i);
        squares += part * part;
    }
    float scale = (float)(1.0 / std::sqrt((double)sum(squares) / (double)size + epsilon));
    for (int64_t i = 0; i < size; i++) out[i] = x[i] * scale * weight[i];
}

// Rows from..to of `m` times all N columns, to out[column * stride + row].
static void multiply(const Matrix &m, int64_t from, int64_t to, const float *x, int64_t N, float *out, int64_t stride,
                     Target::Mode mode) {
    Target target{out, stride, mode, m.scale, m.bias};
    int64_t K = m.columns;
    if (m.type == FLOAT32) product((const float *)m.weight, K, from, to, x, K, N, K, target);
    else if (m.type == BFLOAT16) product((const bf16 *)m.weight, K, from, to, x, K, N, K, target);
    else product((const int8_t *)m.weight, K, from, to, x, K, N, K, target);
}

// Rows a thread takes at a time: two runs each, long ones, in which what comes next is fetched in time.
static int64_t share(int64_t rows, int64_t threads) {
    int64_t wanted = rows / (threads * 2) / 16 * 16;
    return std::max<int64_t>(16, std::min<int64_t>(1024, wanted));
}

// Called by all threads, which do not wait for each other at the end.
static void multiply_all(const Matrix &m, int64_t threads, const float *x, int64_t N, float *out, Target::Mode mode) {
    int64_t rows = share(m.rows, threads), width = m.rows;
#pragma omp for schedule(dynamic) nowait
    for (int64_t from = 0; from < width; from += rows)
        multiply(m, from, std::min(from + rows, width), x, N, out, width, mode);
}

static void rotate(float *x, const float *cosines, const float *sines, int64_t half) {
    for (int64_t i = 0; i < half; i++) {
        float first = x[i], second = x[i + half];
        x[i] = first * cosines[i] - second * sines[i];
        x[i + half] = second * cosines[i] + first * sines[i];
    }
}

// Softmax of `count` scores, times `scale` before; what they sum to is divided out later.
static float exponentials(float *scores, int64_t count, float scale) {
    float most = -INFINITY;
    for (int64_t s = 0; s < count; s++) most = std::max(most, scores[s]);
    vec total{};
    for (int64_t s = 0; s < count; s += LANES) {
        vec part = exp((load_some(scores + s, count - s) - most) * scale);
        keep_some(scores + s, part, count - s);
        total += load_some(scores + s, count - s);
    }
    return sum(total);
}

// What `heads` query heads (heads, D) of one group see: keys and values (held, D), mixed into out (heads, D).
template <class T>
static void attend(const float *queries, int64_t heads, const T *keys, const T *values, int64_t held, int64_t D,
                   float *scores, float *out) {
    float scale = 1.0f / std::sqrt((float)D);
    product(keys, D, 0, held, queries, D, heads, D, Target{scores, held, Target::SET, nullptr, nullptr});
    for (int64_t h = 0; h < heads; h++) {
        float *shares = scores + h * held;
        float inverse = 1.0f / exponentials(shares, held, scale);
        int64_t d = 0;
        for (; d + 4 * LANES <= D; d += 4 * LANES) {
            vec a{}, b{}, c{}, e{};
            for (int64_t s = 0; s < held; s++) {
                const T *value = values + s * D + d;
                a += load(value) * shares[s];
                b += load(value + LANES) * shares[s];
                c += load(value + 2 * LANES) * shares[s];
                e += load(value + 3 * LANES) * shares[s];
            }
            keep(out + h * D + d, a * inverse);
            keep(out + h * D + d + LANES, b * inverse);
            keep(out + h * D + d + 2 * LANES, c * inverse);
            keep(out + h * D + d + 3 * LANES, e * inverse);
        }
        for (; d + LANES <= D; d += LANES) {
            vec a{};
            for (int64_t s = 0; s < held; s++) a += load(values + s * D + d) * shares[s];
            keep(out + h * D + d, a * inverse);
        }
        for (; d < D; d++) {
            float total = 0;
            for (int64_t s = 0; s < held; s++) total += widen(values[s * D + d]) * shares[s];
            out[h * D + d] = total * inverse;
        }
    }
}

struct Pass {
    const Model &m;
    const Cache &cache;
    const Tokens &tokens;
    int64_t N, H, G, D, C, I;
    float *x, *normed, *queries, *keys, *values, *mixed, *inner;  // (N, C), (N, C), (N, H D), 2 of (N, G D), (N, H D), (N, I)

    template <class T>
    T *held(void *all, int64_t layer, int64_t n, int64_t group) const {
        int64_t row = (layer * cache.slots + tokens.slots[n]) * G + group;
        return (T *)all + row * cache.capacity * D;
    }

    // Turn queries and keys by their positions and put keys and values where the later tokens look for them.
    template <class T>
    void place(const Layer &layer, int64_t number, int64_t n) const {
        int64_t position = tokens.positions[n], half = D / 2;
        const float *cosines = m.cosines + position * half, *sines = m.sines + position * half;
        for (int64_t h = 0; h < H + G; h++) {
            float *head = h < H ? queries + (n * H + h) * D : keys + (n * G + h - H) * D;
            const float *weight = h < H ? layer.query_norm : layer.key_norm;
            if (weight) normalise(head, weight, D, m.epsilon, head);
            rotate(head, cosines, sines, half);
        }
        for (int64_t g = 0; g < G; g++) {
            T *key = held<T>(cache.keys, number, n, g) + position * D;
            T *value = held<T>(cache.values, number, n, g) + position * D;
            for (int64_t d = 0; d < D; d++) narrow(keys[(n * G + g) * D + d], key + d);
            for (int64_t d = 0; d < D; d++) narrow(values[(n * G + g) * D + d], value + d);
        }
    }

    template <class T>
    void attention(const Layer &layer, int64_t number, std::vector<float> &scores) const {
        int64_t threads = m.threads, heads = H / G;
        multiply_all(layer.query, threads, normed, N, queries, Target::SET);
        multiply_all(layer.key, threads, normed, N, keys, Target::SET);
        multiply_all(layer.value, threads, normed, N, values, Target::SET);
#pragma omp barrier
#pragma omp for schedule(static)
        for (int64_t n = 0; n < N; n++) place<T>(layer, number, n);
        int64_t together = N * G < threads ? 1 : heads;  // of a group, which reads its keys and values once for them
#pragma omp for schedule(dynamic)
        for (int64_t item = 0; item < N * H / together; item++) {
            int64_t head = item * together % H, n = item * together / H, g = head / heads, seen = tokens.positions[n] + 1;
            if ((int64_t)scores.size() < together * seen) scores.resize(together * seen);
            attend(queries + (n * H + head) * D, together, held<T>(cache.keys, number, n, g),
                   held<T>(cache.values, number, n, g), seen, D, scores.data(), mixed + (n * H + head) * D);
        }
        multiply_all(layer.output, threads, mixed, N, x, Target::ADD);
#pragma omp barrier
    }

    void feed_forward(const Layer &layer) const {
        int64_t rows = share(I, m.threads);
#pragma omp for schedule(dynamic)
        for (int64_t from = 0; from < I; from += rows) {
            int64_t to = std::min(from + rows, I);
            multiply(layer.gate, from, to, normed, N, inner, I, Target::SET);
            for (int64_t b = 0; b < N; b++)
                for (int64_t i = from; i < to; i += LANES) {
                    vec gate = load_some(inner + b * I + i, to - i);
                    keep_some(inner + b * I + i, gate / (exp(-gate) + 1.0f), to - i);
                }
            multiply(layer.up, from, to, normed, N, inner, I, Target::MULTIPLY);
        }
        multiply_all(layer.down, m.threads, inner, N, x, Target::ADD);
#pragma omp barrier
    }

    void normalise_all(const float *weight) const {
#pragma omp for schedule(static)
        for (int64_t n = 0; n < N; n++) normalise(x + n * C, weight, C, m.epsilon, normed + n * C);
    }

    void embed(int64_t n) const {
        const Matrix &e = m.embedding;
        int64_t from = tokens.ids[n] * C;
        for (int64_t c = 0; c < C; c++)
            x[n * C + c] = e.type == FLOAT32 ? ((const float *)e.weight)[from + c] : widen(((const bf16 *)e.weight)[from + c]);
    }

    void run(float *logits) const {
        std::vector<float> scores;
#pragma omp for schedule(static)
        for (int64_t n = 0; n < N; n++) embed(n);
        for (int64_t number = 0; number < m.depth; number++) {
            const Layer &layer = m.layers[number];
            normalise_all(layer.attention_norm);
            if (cache.type == FLOAT32) attention<float>(layer, number, scores);
            else attention<bf16>(layer, number, scores);
            normalise_all(layer.mlp_norm);
            feed_forward(layer);
        }
        int64_t M = tokens.wanted_count, V = m.vocabulary;
#pragma omp for schedule(static)
        for (int64_t i = 0; i < M; i++) normalise(x + tokens.wanted[i] * C, m.norm, C, m.epsilon, normed + i * C);
        Matrix head = m.head;
        head.rows = V;
        multiply_all(head, m.threads, normed, M, logits, Target::SET);
    }
};

// Read the tokens into the cache; logits (M, V) after the wanted ones. Tokens of a slot are in order and adjoin.
extern "C" void forward(const Model *model, const Cache *cache, const Tokens *tokens, float *logits) {
    const Model &m = *model;
    int64_t N = tokens->count, H = m.heads, G = m.groups, D = m.size, C = m.width, I = m.inner;
    thread_local std::vector<float> memory;
    memory.resize(N * (2 * C + 2 * H * D + 2 * G * D + I));
    float *next = memory.data();
    auto take = [&](int64_t width) { float *at = next; next += N * width; return at; };
    Pass pass{m, *cache, *tokens, N, H, G, D, C, I, take(C), take(C), take(H * D), take(G * D), take(G * D), take(H * D), take(I)};
#pragma omp parallel num_threads((int)m.threads)
    pass.run(logits);
}
