// Scrubbing with the keyboard and the slider. Everything also works without this file, by links and the Go button.
"use strict";

const slider = document.getElementById("slider");
const shown = document.querySelector(".scrubber output");
document.querySelector(".scrubber .go").hidden = true;

slider.addEventListener("input", () => {
  shown.value = `${slider.value} / ${slider.max}`;
});
slider.addEventListener("change", () => slider.form.requestSubmit());

document.addEventListener("keydown", (event) => {
  const elsewhere = event.target.matches("input, textarea, select");
  if (elsewhere || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const relation = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
  const link = relation && document.querySelector(`.scrubber a[rel=${relation}]`);
  if (link) {
    event.preventDefault();
    link.click();
  }
});
