#pragma once

#include <array>

#include "trainer/sweep_fit.h"

// Published curves that a report stands beside: one run per point, without error bars. Losses are read from the vector
// drawing of Figure 3 of arXiv:2601.07372.
namespace engram {

inline constexpr std::array<DataPoint, 10> kPublished6e20{{{0.397, 1.72468},
                                                           {0.505, 1.71959},
                                                           {0.602, 1.71364},
                                                           {0.698, 1.71223},
                                                           {0.752, 1.71261},
                                                           {0.795, 1.71093},
                                                           {0.849, 1.70950},
                                                           {0.903, 1.71251},
                                                           {0.946, 1.71297},
                                                           {1.0, 1.72480}}};
inline constexpr std::array<DataPoint, 10> kPublished2e20{{{0.40, 1.82746},
                                                           {0.51, 1.82270},
                                                           {0.60, 1.81902},
                                                           {0.70, 1.81722},
                                                           {0.75, 1.81770},
                                                           {0.80, 1.81695},
                                                           {0.85, 1.81553},
                                                           {0.90, 1.81722},
                                                           {0.95, 1.82009},
                                                           {1.0, 1.82922}}};
// Slots of all tables, loss; the infinite-memory regime of Engram and of OverEncoding.
inline constexpr std::array<DataPoint, 8> kPublishedMemory{{{258560, 1.78831},
                                                            {646400, 1.77597},
                                                            {1292800, 1.76782},
                                                            {1939200, 1.76536},
                                                            {2585600, 1.76030},
                                                            {3878400, 1.75273},
                                                            {6464000, 1.74808},
                                                            {10342400, 1.74316}}};
inline constexpr std::array<DataPoint, 4> kPublishedOverEncoding{
    {{1292800, 1.78201}, {2585600, 1.77114}, {5171200, 1.76701}, {12928000, 1.75047}}};
inline constexpr double kPublishedTokenShare = 0.82;  // of the tokens until Engram has the pure MoE's final loss

}  // namespace engram
