#include "trainer/sweep_rates.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>

#include "trainer/config.h"

namespace engram {
namespace {

// Cells of a line, as far as they need no quotes: numbers come before texts.
std::vector<std::string> cells_of(const std::string& line) {
  std::vector<std::string> cells(1);
  for (const char c : line) {
    if (c == ',') {
      cells.emplace_back();
    } else {
      cells.back() += c;
    }
  }
  return cells;
}

size_t column(const std::vector<std::string>& header, const std::string& name, const std::string& path) {
  const auto found = std::find(header.begin(), header.end(), name);
  if (found == header.end()) {
    throw ConfigError("sweep.rates: " + path + " has no column " + name + "; wanted a results.csv of `sweep report`");
  }
  return static_cast<size_t>(found - header.begin());
}

struct Sum {
  double total = 0;
  int count = 0;
};

}  // namespace

std::vector<MeasuredRate> read_rates(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw ConfigError("sweep.rates: " + path + ": cannot be opened; wanted a results.csv of `sweep report`");
  std::string line;
  std::getline(file, line);
  const std::vector<std::string> header = cells_of(line);
  const size_t ratio = column(header, "ratio", path), rate = column(header, "tok_s", path);
  const size_t control = column(header, "control", path), budget = column(header, "budget", path);
  std::map<double, Sum> sums;
  std::set<std::string> budgets;
  while (std::getline(file, line)) {
    const std::vector<std::string> cells = cells_of(line);
    const bool is_curve = cells.size() > std::max({ratio, rate, control, budget}) && cells[control].empty();
    if (!is_curve || cells[ratio].empty() || cells[rate].empty()) continue;
    budgets.insert(cells[budget]);
    Sum& sum = sums[std::atof(cells[ratio].c_str())];
    sum.total += std::atof(cells[rate].c_str());
    ++sum.count;
  }
  if (sums.count(1) == 0) throw ConfigError("sweep.rates: " + path + " has no finished trial at ratio 1; wanted one");
  if (budgets.size() > 1) {
    throw ConfigError("sweep.rates: " + path + " has trials of " + std::to_string(budgets.size()) +
                      " budgets; wanted those of one, for the rates of one model");
  }
  std::vector<MeasuredRate> rates;
  for (const auto& [at, sum] : sums) rates.push_back({at, sum.total / sum.count});
  return rates;
}

double rate_at(const std::vector<MeasuredRate>& rates, double ratio) {
  const auto above = std::find_if(rates.begin(), rates.end(), [&](const MeasuredRate& r) { return r.ratio >= ratio; });
  if (above == rates.end()) return rates.back().tokens_per_second;
  if (above == rates.begin() || above->ratio == ratio) return above->tokens_per_second;
  const MeasuredRate& below = *(above - 1);
  const double part = (ratio - below.ratio) / (above->ratio - below.ratio);
  return below.tokens_per_second + part * (above->tokens_per_second - below.tokens_per_second);
}

}  // namespace engram
