/// One bank of the expert slots: words of one AXI beat in two UltraRAM halves (even and odd word addresses), so that a word of
/// values and a word of indices can be read in the same cycle while the loader writes a third.
/// An UltraRAM word has 72 bits: of a word of 512, seven columns of it hold 504 bits, block RAM the last eight; eight columns
/// of 64 bits would leave a ninth of the UltraRAM empty.
/// Reads take one cycle. Each half has its own read port; the address is that of the half (word address / 2).
module slot_memory #(
    parameter int unsigned Words = 4096,
    parameter int unsigned AxiBytes = 64,
    localparam int unsigned AddressBits = $clog2(Words)
) (
    input  logic                   clk_i,
    input  logic                   write_i,
    input  logic [AddressBits-1:0] write_address_i,
    input  logic [ 8*AxiBytes-1:0] write_data_i,
    input  logic                   read_even_i,
    input  logic [AddressBits-2:0] read_even_address_i,
    output logic [ 8*AxiBytes-1:0] read_even_data_o,
    input  logic                   read_odd_i,
    input  logic [AddressBits-2:0] read_odd_address_i,
    output logic [ 8*AxiBytes-1:0] read_odd_data_o
);

  localparam int unsigned Columns = (8 * AxiBytes + 71) / 72;
  for (genvar column = 0; column < Columns; column++) begin : g_column
    localparam int unsigned First = 72 * column;
    localparam int unsigned Width = (column < Columns - 1) ? 72 : 8 * AxiBytes - First;
    ram_1r1w #(
        .Width(Width),
        .Depth(Words / 2),
        .RamStyle((Width > 8) ? "ultra" : "block")
    ) u_even (
        .clk_i,
        .write_i(write_i && !write_address_i[0]),
        .write_address_i(write_address_i[AddressBits-1:1]),
        .write_data_i(write_data_i[First+:Width]),
        .read_i(read_even_i),
        .read_address_i(read_even_address_i),
        .read_data_o(read_even_data_o[First+:Width])
    );
    ram_1r1w #(
        .Width(Width),
        .Depth(Words / 2),
        .RamStyle((Width > 8) ? "ultra" : "block")
    ) u_odd (
        .clk_i,
        .write_i(write_i && write_address_i[0]),
        .write_address_i(write_address_i[AddressBits-1:1]),
        .write_data_i(write_data_i[First+:Width]),
        .read_i(read_odd_i),
        .read_address_i(read_odd_address_i),
        .read_data_o(read_odd_data_o[First+:Width])
    );
  end

`ifndef SYNTHESIS
  initial assert (Words % 2 == 0) else $fatal(1, "slot_memory: Words");
  // An expert is read behind its load, so no word is read while it is written: what that read would give is not defined.
  logic settled_q = 1'b0;
  always_ff @(posedge clk_i) begin
    settled_q <= 1'b1;
    if (settled_q && write_i) begin
      assert (write_address_i[0] || !read_even_i || write_address_i[AddressBits-1:1] != read_even_address_i)
      else $error("slot_memory: an even word was read while it was written");
      assert (!write_address_i[0] || !read_odd_i || write_address_i[AddressBits-1:1] != read_odd_address_i)
      else $error("slot_memory: an odd word was read while it was written");
    end
  end
`endif

endmodule
