// The one preparation: the same OpenCV calls as anomalib_lite/edge/prepare.py.
#pragma once

#include <string>

#include <nlohmann/json.hpp>
#include <opencv2/core.hpp>

// What a frame is declared to be, and what the network is given.
struct InputSpec {
    int height = 0, width = 0, bit_depth = 8;
    bool grey = false, drops_alpha = false, turns_upright = true, coloured = false;
    bool monochrome = false;
    cv::Size roi_size;  // of the mask that an enlarged frame must have; empty: any
    double aspect = 0, roi_aspect = 0;  // width / height; 0: any
    cv::Mat outside;  // uint8 (height, width), 255 where the frame is not looked at; or empty

    InputSpec() = default;
    explicit InputSpec(const nlohmann::json& fields);
    // The same preparation, whatever kind of frame was fitted or drawn on: for probes.
    InputSpec of_copies() const;
};

// File bytes -> frame (H, W[, 3|4]), uint8 or uint16, RGB order; throws FrameError.
cv::Mat decode(const std::string& bytes, bool turns_upright);

// Frame -> uint8 (height, width, 3); throws FrameError where it is not what is declared.
cv::Mat prepare(const cv::Mat& frame, const InputSpec& spec);
