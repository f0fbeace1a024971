// part_score [--threads N] [--prepared FOLDER] FILE.onnx IMAGE...
//
// The lines of `anomalib-lite score`, without Python. Exit status: 0 all frames were judged, 2 the
// call or the model file cannot be used (one line on stderr), 3 some frames could not be used
// (their lines say why). --prepared keeps what the network saw as FOLDER/0.png, 1.png, ...
#include <exception>
#include <iostream>
#include <string>
#include <vector>

#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "edge_file.hpp"
#include "model.hpp"

namespace {
constexpr int kCannotBeUsed = 2, kSomeUnusable = 3;

struct Call {
    int threads = 0;
    std::string prepared, model;
    std::vector<std::string> images;
};

Call read_call(int count, char** given) {
    const std::string usage =
        "usage: part_score [--threads N] [--prepared FOLDER] FILE.onnx IMAGE...";
    Call call;
    std::vector<std::string> names;
    for (int i = 1; i < count; ++i) {
        const std::string word = given[i];
        if (word.rfind("--", 0) != 0) {
            names.push_back(word);
            continue;
        }
        if ((word != "--threads" && word != "--prepared") || i + 1 == count)
            throw ModelFileError("unknown or unfinished option " + word + "; " + usage);
        const std::string value = given[++i];
        if (word == "--prepared") {
            call.prepared = value;
        } else if (value.empty() || value.size() > 3 ||
                   value.find_first_not_of("0123456789") != std::string::npos || value == "0") {
            throw ModelFileError("--threads is '" + value + "'; give a number from 1 to 999");
        } else {
            call.threads = std::stoi(value);
        }
    }
    if (names.size() < 2) throw ModelFileError(usage);
    call.model = names.front();
    call.images.assign(names.begin() + 1, names.end());
    return call;
}

void keep(const cv::Mat& prepared, const std::string& path) {
    cv::Mat bgr;
    cv::cvtColor(prepared, bgr, cv::COLOR_RGB2BGR);
    if (!cv::imwrite(path, bgr)) throw ModelFileError(path + ": cannot be written");
}

// One line a frame; the number of frames that could not be used.
int score(const Call& call) {
    EdgeModel model(call.model, call.threads);
    int unusable = 0;
    for (std::size_t i = 0; i < call.images.size(); ++i) {
        nlohmann::ordered_json line{{"frame", call.images[i]}};
        try {
            const cv::Mat frame = decode(read_bytes(call.images[i]), model.spec().turns_upright);
            const cv::Mat prepared = prepare(frame, model.spec());
            if (!call.prepared.empty())
                keep(prepared, call.prepared + "/" + std::to_string(i) + ".png");
            line.update(model.judge(frame.size(), prepared));
        } catch (const FrameError& error) {
            line["error"] = error.what();
            ++unusable;
        } catch (const cv::Exception& error) {
            line["error"] = "cannot be decoded (" + error.err + ")";
            ++unusable;
        }
        line.update(model.signature());
        std::cout << line.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace)
                  << std::endl;
    }
    return unusable;
}
}  // namespace

int main(int count, char** given) {
    try {
        return score(read_call(count, given)) ? kSomeUnusable : 0;
    } catch (const std::exception& error) {
        std::cerr << "part_score: " << error.what() << std::endl;
        return kCannotBeUsed;
    }
}
