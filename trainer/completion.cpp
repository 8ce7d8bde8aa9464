#include "trainer/completion.h"

#include <fmt/format.h>

#include <set>

#include "kernels/core/check.h"
#include "trainer/cli_app.h"
#include "trainer/config_fields.h"

namespace engram {
namespace {

struct Word {
  std::string text, what;
  bool takes_value = false;
};
using Words = std::vector<Word>;

struct Verb {
  std::string path;  // " sweep run": a space before each word
  Words next;        // verbs or values that may follow; where there are none, files may
  Words options;
};

Words all_keys() {
  Words keys;
  for (const FieldInfo& field : config_fields(SweepFile{})) {
    if (!field.is_section) keys.push_back({field.path, field.meaning});
  }
  return keys;
}

void add_verbs(const CLI::App& app, const std::string& path, std::vector<Verb>& all) {
  Verb verb{.path = path, .next = {}, .options = {}};
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      verb.options.push_back({"--" + name, option->get_description(), option->get_items_expected_min() > 0});
    }
  }
  const auto nested = app.get_subcommands([](const CLI::App*) { return true; });
  for (const CLI::App* sub : nested) verb.next.push_back({sub->get_name(), sub->get_description()});
  if (path == " config explain") verb.next = all_keys();
  if (path == " completion") verb.next = {{"bash", ""}, {"zsh", ""}, {"fish", ""}};
  all.push_back(std::move(verb));
  for (const CLI::App* sub : nested) add_verbs(*sub, path + " " + sub->get_name(), all);
}

std::vector<Verb> all_verbs() {
  std::vector<Verb> all;
  with_command_line([&](const CLI::App& app) { add_verbs(app, "", all); });
  return all;
}

// 'text' for a shell, with `quote` for each quotation mark in it.
std::string in_quotes(const std::string& text, const char* quote = "'\\''") {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? quote : std::string(1, c);
  return quoted + "'";
}

std::string joined(const std::vector<std::string>& texts, const char* between) {
  std::string all;
  for (const std::string& text : texts) all += (all.empty() ? "" : between) + text;
  return all;
}

// All paths but the program's own.
std::vector<std::string> quoted_paths(const std::vector<Verb>& verbs) {
  std::vector<std::string> paths;
  for (const Verb& verb : verbs) {
    if (!verb.path.empty()) paths.push_back(in_quotes(verb.path));
  }
  return paths;
}

std::string texts_of(const Words& words, const char* end = "") {
  std::vector<std::string> texts;
  for (const Word& word : words) texts.push_back(word.text + end);
  return joined(texts, " ");
}

// Options whose value is no key: a file, or what nobody can guess.
std::vector<std::string> options_with_value(const std::vector<Verb>& verbs) {
  std::set<std::string> names;
  for (const Verb& verb : verbs) {
    for (const Word& option : verb.options) {
      if (option.takes_value && option.text != "--set") names.insert(option.text);
    }
  }
  return {names.begin(), names.end()};
}

std::string bash_script(const std::vector<Verb>& verbs) {
  std::string cases;
  for (const Verb& verb : verbs) {
    cases += fmt::format("    '{}') next=\"{}\" options=\"{}\" ;;\n", verb.path, texts_of(verb.next),
                         texts_of(verb.options));
  }
  return fmt::format(R"(# Completion of engram in bash: source <(engram completion bash)
_engram() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} at= next= options= i
  for ((i = 1; i < COMP_CWORD; ++i)); do
    case "$at ${{COMP_WORDS[i]}}" in
      {}) at="$at ${{COMP_WORDS[i]}}" ;;
    esac
  done
  case "${{COMP_WORDS[COMP_CWORD - 1]}}" in
    --set)
      compopt -o nospace
      COMPREPLY=($(compgen -S = -W "{}" -- "$word"))
      return ;;
    {}) return ;;
  esac
  case "$at" in
{}  esac
  [[ $word != -* ]] || next=$options
  COMPREPLY=($(compgen -W "$next" -- "$word"))
}}
complete -o default -F _engram engram
)",
                     joined(quoted_paths(verbs), " | "), texts_of(all_keys()), joined(options_with_value(verbs), " | "),
                     cases);
}

// 'text:meaning' for each, as _describe takes it.
std::string described(const Words& words) {
  std::vector<std::string> texts;
  for (const Word& word : words) texts.push_back(in_quotes(word.text + ":" + word.what));
  return joined(texts, " ");
}

std::string zsh_script(const std::vector<Verb>& verbs) {
  std::string cases;
  for (const Verb& verb : verbs) {
    cases +=
        fmt::format("    '{}') next=({}) options=({}) ;;\n", verb.path, described(verb.next), described(verb.options));
  }
  return fmt::format(R"(# Completion of engram in zsh, after compinit: source <(engram completion zsh)
_engram() {{
  local at= i
  local -a next options keys
  for ((i = 2; i < CURRENT; ++i)); do
    case "$at ${{words[i]}}" in
      {}) at="$at ${{words[i]}}" ;;
    esac
  done
  case "$at" in
{}  esac
  if [[ ${{words[CURRENT - 1]}} == --set ]]; then
    keys=({})
    _describe key keys -S =
  elif [[ $PREFIX == -* ]]; then
    _describe option options
  elif (( $#next )); then
    _describe word next
  else
    _files
  fi
}}
compdef _engram engram
)",
                     joined(quoted_paths(verbs), " | "), cases, described(all_keys()));
}

std::string fish_script(const std::vector<Verb>& verbs) {
  std::string lines;
  for (const Verb& verb : verbs) {
    const std::string line = fmt::format("complete -c engram -n \"__engram_at '{}'\"", verb.path);
    for (const Word& next : verb.next) {
      lines += fmt::format("{} -f -a {} -d {}\n", line, next.text, in_quotes(next.what, "\\'"));
    }
    for (const Word& option : verb.options) {
      const std::string value = option.text == "--set" ? " -x -a \"$__engram_keys\"" : option.takes_value ? " -r" : "";
      lines += fmt::format("{} -l {}{} -d {}\n", line, option.text.substr(2), value, in_quotes(option.what, "\\'"));
    }
  }
  return fmt::format(R"(# Completion of engram in fish: engram completion fish | source
set -g __engram_keys {}
function __engram_at
  set -l at
  for word in (commandline -opc)[2..]
    switch "$at $word"
      case {}
        set at "$at $word"
    end
  end
  test "$at" = "$argv[1]"
end
{})",
                     texts_of(all_keys(), "="), joined(quoted_paths(verbs), " "), lines);
}

}  // namespace

std::string completion_script(std::string_view shell) {
  const std::vector<Verb> verbs = all_verbs();
  if (shell == "bash") return bash_script(verbs);
  if (shell == "zsh") return zsh_script(verbs);
  ENGRAM_CHECK(shell == "fish", "completion: unknown shell ", shell, "; known: bash, zsh, fish");
  return fish_script(verbs);
}

}  // namespace engram
