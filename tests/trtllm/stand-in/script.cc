#include "script.h"

#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>
#include <stdexcept>

namespace stand_in {
namespace {

void read_line(Script& script, const std::string& line) {
    std::istringstream words(line);
    std::string name;
    if (!(words >> name)) return;
    const std::map<std::string, std::size_t*> numbers = {
        {"vocabulary", &script.vocabulary},
        {"rows", &script.rows},
        {"callback", &script.callback},
        {"kv_blocks", &script.kv_blocks},
        {"tokens_per_block", &script.tokens_per_block},
        {"delay", &script.delay},
        {"jitter", &script.jitter},
        {"seed", &script.seed},
        {"calm_steps", &script.calm_steps},
        {"refuse_share", &script.refuse_share},
        {"error_share", &script.error_share},
        {"time_out_share", &script.time_out_share},
        {"unfinished_share", &script.unfinished_share},
        {"partial_share", &script.partial_share},
        {"twice_share", &script.twice_share},
        {"fail_step_share", &script.fail_step_share},
        {"die_in_step", &script.die_in_step},
        {"stall_in_step", &script.stall_in_step},
        {"pinned_bytes", &script.pinned_bytes},
        {"embedding", &script.embedding},
        {"devices", &script.devices},
        {"ranks", &script.ranks},
        {"load_rank", &script.load_rank},
    };
    const std::map<std::string, bool*> switches = {
        {"logits_half", &script.logits_half},
        {"logits_missing", &script.logits_missing},
        {"logits_on_gpu", &script.logits_on_gpu},
        {"reorder", &script.reorder},
        {"echo", &script.echo},
        {"lost_rank_fails", &script.lost_rank_fails},
        {"follows", &script.follows},
        {"load_gate", &script.load_gate},
    };
    if (const auto number = numbers.find(name); number != numbers.end()) {
        if (words >> *number->second) return;
    } else if (const auto on = switches.find(name); on != switches.end()) {
        *on->second = true;
        return;
    } else if (name == "logits") {
        for (std::string value; words >> value;) script.logits.push_back(std::stof(value));
        return;
    } else if (name == "load_error") {
        std::getline(words >> std::ws, script.load_error);
        return;
    }
    throw std::runtime_error("the stand-in does not know: " + line);
}

void read_all(Script& script, std::istream& text, char separator) {
    for (std::string line; std::getline(text, line, separator);) read_line(script, line);
}

}  // namespace

Script Script::read(const std::filesystem::path& directory) {
    Script script;
    std::ifstream file(directory / "stand-in.conf");
    read_all(script, file, '\n');
    if (const char* environment = std::getenv("STAND_IN")) {
        std::istringstream text(environment);
        read_all(script, text, ';');
    }
    return script;
}

}  // namespace stand_in
