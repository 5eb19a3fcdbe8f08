"use strict";
const element = (tag, text = "", css = "") => Object.assign(document.createElement(tag), { textContent: text, className: css });
const format = (value) =>
  value === null ? "not a number" : value === 0 ? "0" : Math.abs(value) >= 1e-3 && Math.abs(value) < 1e6 ? String(+value.toPrecision(5)) : value.toExponential(3);

// Charts: values of the step nearest to the pointer.
for (const figure of document.querySelectorAll(".chart")) {
  const chart = JSON.parse(figure.querySelector("script").textContent);
  const svg = figure.querySelector("svg");
  const cursor = svg.querySelector(".cursor");
  const [first, last, left, right] = chart.x;
  const steps = [...new Set(chart.lines.flatMap((line) => line.points.map((point) => point[0])))];
  const tip = element("div", "", "tip");
  tip.hidden = true;
  figure.append(tip);
  svg.addEventListener("pointermove", (event) => {
    if (!steps.length) return;
    const box = svg.getBoundingClientRect();
    const scale = box.width / svg.viewBox.baseVal.width;
    const pointed = first + (((event.clientX - box.left) / scale - left) / (right - left)) * (last - first);
    const step = steps.reduce((best, one) => (Math.abs(one - pointed) < Math.abs(best - pointed) ? one : best));
    const x = left + ((step - first) / (last - first)) * (right - left);
    for (const [name, value] of [["x1", x], ["x2", x], ["visibility", "visible"]]) cursor.setAttribute(name, value);
    tip.replaceChildren(element("b", `step ${step.toLocaleString("en")}`));
    for (const line of chart.lines) {
      const point = line.points.find((one) => one[0] === step);
      if (!point) continue;
      const row = element("span");
      row.append(element("i", line.name, `c${line.color}`), element("span", `${format(point[1])} ${chart.unit}`));
      tip.append(row);
    }
    tip.hidden = false;
    const frame = figure.getBoundingClientRect();
    const at = box.left - frame.left + x * scale;
    tip.style.left = `${at > frame.width / 2 ? Math.max(4, at - tip.offsetWidth - 12) : at + 12}px`;
    tip.style.top = `${box.top - frame.top + 12}px`;
  });
  svg.addEventListener("pointerleave", () => {
    tip.hidden = true;
    cursor.setAttribute("visibility", "hidden");
  });
}

// Sample grids: a slider through the steps.
for (const box of document.querySelectorAll(".steps")) {
  const images = [...box.querySelectorAll("img")];
  box.querySelector("input")?.addEventListener("input", (event) => {
    images.forEach((image, index) => (image.hidden = index !== Number(event.target.value)));
    box.querySelector("output").textContent = `step ${Number(images[event.target.value].dataset.step).toLocaleString("en")}`;
  });
}

// Examples: masked input at the left of the cut, the chosen image at the right.
for (const card of document.querySelectorAll(".compare")) {
  const stack = card.querySelector(".stack");
  const images = JSON.parse(card.querySelector("script").textContent);
  stack.querySelector("input").addEventListener("input", (event) => stack.style.setProperty("--cut", `${event.target.value}%`));
  card.querySelector("select").addEventListener("change", (event) => (stack.querySelector(".under").src = images[event.target.value]));
}

const filter = document.querySelector("#only-differences");
if (filter) {
  const apply = () => document.querySelector(".settings").classList.toggle("few", filter.checked);
  filter.addEventListener("change", apply);
  apply();
}

document.querySelector("#theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});

addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((details) => (details.open = true)));
