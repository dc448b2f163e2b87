"""The page's look in gradio's theme variables: a cutting mat, blue ink, and paper.

Fonts are the system's own and colours are plain values, so that nothing is loaded from elsewhere. Light and dark follow
the browser's preference through gradio's `_dark` variables; static/page.css adds the layout and the widgets.
"""

from __future__ import annotations

from gradio.themes import Base, Color, Size

from ui.components import asset

INK = Color(  # from 50 to 950
    *("#eef0ff", "#dfe3ff", "#c3caff", "#9ea9ff", "#7a86f8", "#4a57e3"),
    *("#2f3bcb", "#262fa3", "#21287f", "#1c2260", "#11153f"),
    name="ink",
)
PAPER = Color(
    *("#fafafd", "#f3f4f9", "#e4e6ef", "#cdd1df", "#9aa0b5", "#6b7189"),
    *("#4d536a", "#363b50", "#222638", "#181b2a", "#0f111c"),
    name="paper",
)
RADIUS = Size("3px", "6px", "8px", "10px", "14px", "18px", "24px", name="round")

LATIN_FONT = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans")
CHINESE_FONT = ("PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC")
BODY_FONT = (*LATIN_FONT, *CHINESE_FONT, "sans-serif")
MONO_FONT = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")


def playground_theme() -> Base:
    theme = Base(primary_hue=INK, secondary_hue=INK, neutral_hue=PAPER, radius_size=RADIUS, font=BODY_FONT, font_mono=MONO_FONT)
    theme.name = "cutting-mat"
    # Part of the theme, since gradio would prefix the selectors of `launch(css=...)`.
    theme.custom_css = asset("page.css")
    return theme.set(
        body_background_fill="*neutral_100",
        body_background_fill_dark="*neutral_950",
        body_text_color="#1a1e33",
        body_text_color_dark="#eceefa",
        body_text_color_subdued="#5b6078",
        body_text_color_subdued_dark="#a3a9c2",
        background_fill_primary="#ffffff",
        background_fill_primary_dark="*neutral_900",
        background_fill_secondary="*neutral_50",
        background_fill_secondary_dark="*neutral_950",
        border_color_primary="*neutral_200",
        border_color_primary_dark="#2c3146",
        color_accent="*primary_600",
        color_accent_soft="*primary_50",
        color_accent_soft_dark="#23284d",
        link_text_color="*primary_600",
        link_text_color_dark="*primary_300",
        link_text_color_visited="*primary_600",
        link_text_color_visited_dark="*primary_300",
        link_text_color_hover="*primary_700",
        link_text_color_hover_dark="*primary_200",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_padding="0px",
        block_shadow="none",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_label_text_color="*body_text_color",
        block_title_text_color="*body_text_color",
        block_title_text_weight="600",
        block_title_text_size="0.9rem",
        block_info_text_color="*body_text_color_subdued",
        form_gap_width="0px",
        layout_gap="18px",
        input_background_fill="#ffffff",
        input_background_fill_dark="#11141f",
        input_border_color="*neutral_400",
        input_border_color_dark="#5a6180",
        input_border_color_focus="*primary_600",
        input_border_color_focus_dark="*primary_300",
        input_border_width="1.5px",
        input_placeholder_color="#6b7189",
        input_placeholder_color_dark="#8d94ae",
        input_radius="10px",
        slider_color="*primary_600",
        slider_color_dark="*primary_300",
        checkbox_border_radius="5px",
        checkbox_border_color="*neutral_400",
        checkbox_border_color_dark="#5a6180",
        checkbox_background_color_selected="*primary_600",
        checkbox_background_color_selected_dark="*primary_400",
        checkbox_label_background_fill="transparent",
        checkbox_label_background_fill_dark="transparent",
        checkbox_label_background_fill_hover="transparent",
        checkbox_label_background_fill_hover_dark="transparent",
        checkbox_label_border_width="0px",
        checkbox_label_padding="0px",
        button_large_radius="12px",
        button_large_text_weight="700",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_dark="*primary_400",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_hover_dark="*primary_300",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#0d1030",
        button_secondary_background_fill="transparent",
        button_secondary_background_fill_dark="transparent",
        button_secondary_background_fill_hover="*neutral_100",
        button_secondary_background_fill_hover_dark="#23283c",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_dark="#3a4058",
        button_cancel_background_fill="transparent",
        button_cancel_background_fill_dark="transparent",
        button_cancel_text_color="#b3234f",
        button_cancel_text_color_dark="#ff8fae",
        button_cancel_border_color="#e3a3b6",
        button_cancel_border_color_dark="#7a3a50",
        button_border_width="1.5px",
    )
