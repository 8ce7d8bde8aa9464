// A driver's library (NVML) of a machine with two cards, for the tests of `engram doctor`; the second card is ill as
// ENGRAM_FAKE_CARD says: "ecc", "remap", "hot" or "lost".
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace {

bool is_ill(const void* card, std::string_view illness) {
  const char* chosen = std::getenv("ENGRAM_FAKE_CARD");
  return card != nullptr && chosen != nullptr && chosen == illness;
}
int second_card;

}  // namespace

extern "C" {

int nvmlInit_v2() { return 0; }
int nvmlShutdown() { return 0; }
const char* nvmlErrorString(int) { return "GPU is lost"; }
int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = 2;
  return 0;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** card) {
  *card = index == 1 ? &second_card : nullptr;
  return is_ill(*card, "lost") ? 15 : 0;
}
int nvmlDeviceGetName(void*, char* name, unsigned size) {
  std::snprintf(name, size, "Paper");
  return 0;
}
int nvmlDeviceGetTotalEccErrors(void* card, int kind, int counter, unsigned long long* count) {
  *count = kind == 1 && counter == 0 && is_ill(card, "ecc") ? 3 : 0;
  return 0;
}
int nvmlDeviceGetRemappedRows(void* card, unsigned* corrected, unsigned* uncorrected, unsigned* is_pending,
                              unsigned* has_failed) {
  *corrected = *uncorrected = *has_failed = 0;
  *is_pending = is_ill(card, "remap") ? 1 : 0;
  return 0;
}
int nvmlDeviceGetCurrentClocksThrottleReasons(void* card, unsigned long long* reasons) {
  constexpr unsigned long long kIdle = 0x01, kHardwareTooHot = 0x40;
  *reasons = is_ill(card, "hot") ? kHardwareTooHot : kIdle;
  return 0;
}

}  // extern "C"
