#pragma once

#include <cstdint>
#include <string>
#include <vector>

// Comma-separated values, quoted as spreadsheets do it.
namespace engram {

struct CsvLine {
  int64_t number = 0;  // where it begins in its file, from 1
  std::vector<std::string> cells;
};

// The lines of a file's text. Each ends with \n or \r\n, the last one too; a cell in quotes may hold commas, ends of
// lines and quotes, these twice. Throws Error with `path`, line, cell, got and wanted.
std::vector<CsvLine> csv_lines(const std::string& text, const std::string& path);

// The text of such a line, its end included; cells in quotes where they need them.
std::string csv_line(const std::vector<std::string>& cells);

}  // namespace engram
