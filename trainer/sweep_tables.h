#pragma once

#include <string>
#include <vector>

#include "trainer/sweep_results.h"

// The tables of a report: all trials, with what their journals know of their facts and outcomes.
namespace engram {

// results.csv: a line for each trial, numbers first; nothing where a number was not measured.
std::string results_csv(const std::vector<ReportedTrial>& trials);

// The trials of a results.csv, with its numbers to the last bit. Columns may come in any order, but each that is
// written must be there, and no other. Throws Error with path, line, column, got and wanted.
std::vector<ReportedTrial> read_results_csv(const std::string& path);

// results.h5: a dataset per number, texts as JSON in attributes.
void write_results_hdf5(const std::vector<ReportedTrial>& trials, const std::string& path);

}  // namespace engram
