#pragma once

#include <cstdint>

#include "trainer/run_config.h"

namespace engram {

// Factor on the base learning rate for applied update t = 1, 2, .., with T = total_steps and W = warmup_steps:
//
//   t <= W     t / W, so 1/W at t = 1
//   cosine     1 for flat_steps after the warm-up; then min + (1 - min) (1 + cos(pi p)) / 2, where p grows linearly
//              from 0 to 1 at T - tail_steps; min from there on
//   wsd        1 until T - decay_steps; then, with p growing from 0 to 1 at T, 1 - (1 - min) p  (linear)  or
//              min + (1 - min) (1 - sqrt(p))  (sqrt)
//   step       1 until 80 % of T, 0.316 until 90 %, then 0.1 (boundaries included, compared in integers)
//   constant   1
//
// with min = min_ratio; t > T gives the value at T. Throws Error unless t >= 1.
// Source: arXiv:2512.24880 table 5 (step), arXiv:2404.06395 (wsd), arXiv:1608.03983 (cosine).
double learning_rate_ratio(const ScheduleConfig& schedule, int64_t t, int64_t total_steps);

}  // namespace engram
